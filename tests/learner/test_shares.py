"""Every row is computed once, on one rank, and all ranks compute equally often and about equally much."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.batch import MixedGroup, Rows, mixed_groups, padded_tokens, plan
from learner.shares import shares
from scheduler.core.advantage import AdvantageKind
from tests.learner.random_groups import random_batch, random_group


def groups_of(seed: int, num_groups: int) -> list[MixedGroup]:
    return mixed_groups(random_batch(seed=seed, num_groups=num_groups), AdvantageKind.GRPO)


def rids(pieces: list[Rows]) -> list[str]:
    return [rollout.rid for rows in pieces for rollout in rows.rollouts]


@given(
    seed=st.integers(0, 50), num_groups=st.integers(1, 12), num_ranks=st.integers(1, 5), max_tokens=st.integers(1, 200)
)
def test_every_rollout_is_on_one_rank_and_all_ranks_compute_equally_often(
    seed: int, num_groups: int, num_ranks: int, max_tokens: int
) -> None:
    groups = groups_of(seed, num_groups)
    dealt = shares(groups, num_ranks=num_ranks, max_tokens=max_tokens)
    assert len(dealt) == num_ranks
    assert len({len(batches) for batches in dealt}) == 1
    counts = Counter(rid for batches in dealt for batch in batches for rid in rids(batch))
    assert counts == Counter(rids([group.rows for group in groups]))


def test_one_rank_computes_what_it_would_alone() -> None:
    groups = groups_of(seed=1, num_groups=6)
    assert shares(groups, num_ranks=1, max_tokens=60) == [plan(groups, max_tokens=60)]


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_a_large_batch_is_divided_evenly(num_ranks: int) -> None:
    dealt = shares(groups_of(seed=2, num_groups=40), num_ranks=num_ranks, max_tokens=10_000)
    loads = [sum(padded_tokens(rows) for batch in batches for rows in batch) for batches in dealt]
    assert max(loads) <= 1.05 * min(loads)


def test_a_single_group_is_cut_so_that_every_rank_has_a_part_of_it() -> None:
    group = mixed_groups([random_group(rewards=(1.0, 0.0) * 8)], AdvantageKind.GRPO)
    dealt = shares(group, num_ranks=2, max_tokens=10_000)
    assert all(batches != [[]] for batches in dealt)


def test_a_rank_for_which_nothing_is_left_computes_idly() -> None:
    group = mixed_groups([random_group(rewards=(1.0, 0.0), num_completions=1)], AdvantageKind.GRPO)
    assert [[len(batch) for batch in batches] for batches in shares(group, num_ranks=3, max_tokens=100)] == [
        [1],
        [0],
        [0],
    ]
