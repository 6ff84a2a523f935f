"""Uniform GRPO."""

import numpy as np
import pytest

from scheduler.core.allocators.grpo import Grpo
from scheduler.core.allocators.interface import Allocator, Commit, Experience, Ranking, Selection
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Stage, Verdict
from tests.scheduler.core.factories import (
    make_candidate,
    make_demand,
    make_evidence,
    make_ready_group,
    make_rollouts,
)

RULE: Allocator = Grpo(group_size=16)


def test_every_prompt_gets_a_whole_group_unseen() -> None:
    assert (RULE.name, RULE.largest_group) == ("grpo", 16)
    assert RULE.decide(make_evidence(), ()) == Commit(count=16, selection_probability=1.0)


def test_history_changes_nothing() -> None:
    assert RULE.decide(make_evidence(verdicts=(Verdict.EVICT,) * 9), ()) == Commit(count=16)


@pytest.mark.parametrize(("have", "lacks"), [(5, 11), (16, 0), (17, 0)])
def test_a_resumed_group_is_only_completed(have: int, lacks: int) -> None:
    assert RULE.decide(make_evidence(), make_rollouts(0, have, Stage.COMMIT)) == Commit(count=lacks)


def test_no_prompt_is_passed_over() -> None:
    candidates = [make_candidate("seen", visits=3), make_candidate("new")]
    ranking = RULE.rank(candidates, make_demand(prompts=5), np.random.default_rng(0))
    assert ranking == Ranking(claim=("new", "seen"), passed_over=())


def test_a_batch_takes_the_oldest_and_discards_nothing() -> None:
    old, new = make_ready_group("old", oldest_version=1), make_ready_group("new", oldest_version=2)
    assert RULE.select([new], [old], need=1) == Selection(batch=("old",), surplus=())


def test_experience_changes_nothing() -> None:
    assert RULE.adapted(Experience(step=3, epoch=1)) == RULE


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_a_group_that_cannot_vary_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="at least 2 rollouts"):
        Grpo(group_size=size)
