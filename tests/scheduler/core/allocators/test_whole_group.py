"""Rules of whole groups."""

import pytest

from scheduler.core.allocators.dapo import DapoCarry
from scheduler.core.allocators.greso import Greso
from scheduler.core.allocators.interface import Commit, More, Settle
from scheduler.core.allocators.mopps import Mopps
from scheduler.core.allocators.whole_group import WholeGroup
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Verdict
from tests.scheduler.core.factories import make_evidence, make_rollouts

RULE = DapoCarry(pilots=4, commits=4)


@pytest.mark.parametrize(("have", "lacks"), [(0, 8), (5, 3), (7, 1)])
def test_nothing_is_decided_before_the_group_is_whole(have: int, lacks: int) -> None:
    assert RULE.decide(make_evidence(), make_rollouts(have, have)) == More(count=lacks)


@pytest.mark.parametrize("correct", range(9))
def test_a_whole_group_is_published_if_mixed_and_dropped_if_not(correct: int) -> None:
    decision = RULE.decide(make_evidence(), make_rollouts(correct, 8))
    if 0 < correct < 8:
        assert decision == Commit(count=0)
    else:
        assert isinstance(decision, Settle)
        assert decision.verdict is (Verdict.SKIP if correct else Verdict.DEFER)


def test_history_does_not_change_what_a_group_shows() -> None:
    evidence = make_evidence(verdicts=(Verdict.SKIP,) * 5)
    assert RULE.decide(evidence, make_rollouts(3, 8)) == Commit(count=0)


@pytest.mark.parametrize("rule", [DapoCarry, Greso, Mopps])
@pytest.mark.parametrize(("pilots", "commits"), [(0, 0), (1, 0), (0, 1)])
def test_a_group_that_cannot_vary_is_refused(rule: type[WholeGroup], pilots: int, commits: int) -> None:
    with pytest.raises(InvalidInput, match="at least 2 rollouts") as caught:
        rule(pilots=pilots, commits=commits)
    assert caught.value.field == "commits"
