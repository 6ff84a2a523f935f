"""Answers that make no sense cannot be built."""

import math

import pytest

from scheduler.core.allocators.interface import Commit, More, PassedOver, Settle
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Verdict


@pytest.mark.parametrize("count", [0, -1])
def test_more_pilots_means_at_least_one(count: int) -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        More(count=count)


def test_a_commit_of_none_publishes_the_group_as_it_is() -> None:
    assert Commit(count=0) == Commit(count=0, selection_probability=1.0)
    with pytest.raises(InvalidInput, match="0 or more"):
        Commit(count=-1)


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1, math.nan])
def test_a_selection_probability_can_be_divided_by(probability: float) -> None:
    with pytest.raises(InvalidInput, match=r"\(0, 1\]"):
        Commit(count=4, selection_probability=probability)


def test_a_visit_is_not_settled_as_a_commit() -> None:
    with pytest.raises(InvalidInput, match="cannot have the verdict commit"):
        Settle(verdict=Verdict.COMMIT, reason="solved", revisit_after=0)
    with pytest.raises(InvalidInput, match="cannot have the verdict commit"):
        PassedOver(prompt_id="prompt", verdict=Verdict.COMMIT, reason="solved")


def test_a_settled_prompt_returns_at_once_later_or_never_but_not_in_the_past() -> None:
    waits = [Settle(verdict=Verdict.DEFER, reason="too_hard", revisit_after=wait).revisit_after for wait in (0, 3)]
    assert waits == [0, 3]
    assert Settle(verdict=Verdict.EVICT, reason="solved", revisit_after=None).revisit_after is None
    with pytest.raises(InvalidInput, match="versions to wait"):
        Settle(verdict=Verdict.DEFER, reason="too_hard", revisit_after=-1)


def test_a_prompt_may_be_passed_over_for_a_reason() -> None:
    passed = PassedOver(prompt_id="prompt", verdict=Verdict.SKIP, reason="too_easy")
    assert (passed.verdict, passed.reason) == (Verdict.SKIP, "too_easy")
