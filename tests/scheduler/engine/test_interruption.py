"""Why a visit cannot go on, and where that leaves its prompt."""

import pytest

from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.engine.interruption import Interrupted
from scheduler.state.row import Row


def test_what_a_reward_raised_is_told_in_full_and_kept_apart() -> None:
    trouble = Interrupted.short(1, 4, "reward failed: KeyError: 'x'", failed_visits=1)
    assert trouble.reason == "1 of 4 rollouts have a reward"
    assert trouble.told == "1 of 4 rollouts have a reward; reward failed: KeyError: 'x'"


def test_what_came_back_beside_lost_attempts_belongs_to_no_complete_group() -> None:
    trouble = Interrupted.lost(3, "gone", lost_visits=1)
    assert (trouble.what, trouble.of_the_rest) == ("incomplete", Outcome.INCOMPLETE)
    assert trouble.told == "lost 3 times running: gone"
    expired = Interrupted(outcome=Outcome.EXPIRED, reason="too stale")
    assert (expired.what, expired.of_the_rest) == ("expired", Outcome.EXPIRED)


@pytest.mark.parametrize(
    ("trouble", "left"),
    [
        (Interrupted.lost(3, "gone", lost_visits=2), (PromptState.READY, 0)),
        (Interrupted.lost(3, "gone", lost_visits=3), (PromptState.QUARANTINED, None)),
        (Interrupted.short(0, 4, "", failed_visits=1), (PromptState.WAITING, 8)),
        (Interrupted.short(0, 4, "", failed_visits=3), (PromptState.QUARANTINED, None)),
    ],
)
def test_a_prompt_that_only_costs_is_set_aside_and_in_the_end_for_good(
    trouble: Interrupted, left: tuple[PromptState, int | None]
) -> None:
    assert trouble.leaves(7) == left
    assert (trouble.what == "quarantined") is (left[0] is PromptState.QUARANTINED)


def test_weights_that_move_on_clear_no_prompt_of_what_it_was_suspected_of() -> None:
    before = Row(evidence=Evidence.fresh(Prior(), 0), lost_visits=2, failed_visits=1)
    expired = Interrupted(outcome=Outcome.EXPIRED, reason="too stale")
    assert expired.held_against(before, lost_visits=2) == (2, 1)
    assert Interrupted.lost(3, "gone", lost_visits=3).held_against(before, lost_visits=3) == (3, 0)
    assert Interrupted.short(0, 4, "", failed_visits=2).held_against(before, lost_visits=2) == (0, 2)
