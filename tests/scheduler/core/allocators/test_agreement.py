"""Rollouts that all agree."""

import pytest

from scheduler.core.allocators.agreement import AgreementReason, dropped, is_mixed
from scheduler.core.allocators.interface import Settle
from scheduler.core.types import Verdict
from tests.factories import make_rollout
from tests.scheduler.core.factories import make_rollouts


@pytest.mark.parametrize("count", [1, 2, 8])
def test_rollouts_are_mixed_unless_all_or_none_are_right(count: int) -> None:
    assert [correct for correct in range(count + 1) if is_mixed(make_rollouts(correct, count))] == list(range(1, count))


def test_agreement_is_about_correctness_not_the_shaped_reward() -> None:
    assert not is_mixed([make_rollout(reward=reward, correct=True) for reward in (1.0, 0.5)])
    assert is_mixed([make_rollout(reward=0.0, correct=correct) for correct in (True, False)])


def test_an_agreed_prompt_returns_in_normal_order() -> None:
    assert dropped(make_rollouts(4, 4)) == Settle(
        verdict=Verdict.SKIP, reason=AgreementReason.ALL_RIGHT, revisit_after=0
    )
    assert dropped(make_rollouts(0, 4)) == Settle(
        verdict=Verdict.DEFER, reason=AgreementReason.ALL_WRONG, revisit_after=0
    )
