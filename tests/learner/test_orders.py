"""Other ranks do what rank 0 does, in its order, and leave when it lets them."""

import pytest

from learner.orders import Lead, Order, Publish, Save, Step, Wait, follow
from learner.ranks import ALONE, Ranks
from scheduler.core.errors import LearnerError
from tests.learner.launch import Failed, on_ranks, outcomes_on_ranks
from tests.learner.random_groups import random_group

GIVEN: tuple[Order, ...] = (Step(groups=(random_group(),), temperature=0.7), Publish(), Wait(), Save())


def obedient(ranks: Ranks) -> list[Order]:
    done: list[Order] = []
    if not ranks.leads:
        follow(ranks, done.append)
        return done
    lead = Lead(ranks)
    for order in GIVEN:
        with lead.giving(order):
            done.append(order)
    lead.dismiss()
    lead.dismiss()
    return done


def test_every_order_is_followed_as_it_was_given_until_the_others_may_leave() -> None:
    assert on_ranks(2, obedient) == [list(GIVEN)] * 2


def let_down(ranks: Ranks) -> None:
    """Rank 0 fails in a piece of work that the other does with it."""
    if not ranks.leads:
        follow(ranks, lambda order: ranks.meet())
        return
    lead = Lead(ranks)
    with pytest.raises(LearnerError, match="disk full"), lead.giving(Save()):
        raise LearnerError("disk full")
    # Says nothing: the other waits inside the work, and would take it for something else.
    lead.dismiss()


def test_after_work_that_failed_no_order_is_given_and_the_others_end_with_an_error() -> None:
    leading, following = outcomes_on_ranks(2, let_down)
    assert leading is None
    assert isinstance(following, Failed)
    assert "rank 1 of 2 could not save" in following.text


def test_alone_nobody_is_told_anything() -> None:
    lead = Lead(ALONE)
    with lead.giving(Publish()):
        pass
    lead.dismiss()
