"""Groups become rectangular tensors, and no row is lost on the way."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.batch import MixedGroup, Rows, collate, mixed_groups, plan
from scheduler.core.advantage import AdvantageKind
from tests.factories import make_group
from tests.learner.random_groups import random_batch, random_group

CPU = torch.device("cpu")


def mixed(*groups: object) -> list[MixedGroup]:
    return mixed_groups(groups, AdvantageKind.GRPO)  # type: ignore[arg-type]


def padded_tokens(batch: list[Rows]) -> int:
    tensors = collate(batch, CPU)
    return tensors.prompt_ids_GP.numel() + tensors.completion_ids_RT.numel()


def test_a_group_whose_rewards_agree_drops_out() -> None:
    uniform = make_group(group_id="uniform", rewards=(1.0, 1.0))
    assert [group.rows.prompt_ids for group in mixed(uniform, make_group(prompt_ids=(9, 9)))] == [(9, 9)]


def test_a_rollout_without_advantage_is_not_computed_but_counts_in_the_denominator() -> None:
    group = make_group(rewards=(1.0, 0.5, 0.0))
    (kept,) = mixed(group)
    assert [rollout.rid for rollout in kept.rows.rollouts] == ["group-0", "group-2"]
    assert kept.num_tokens == group.num_tokens == 6


# No deadline: the machine may be busy with servers.
@settings(deadline=None)
@given(
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True),
    sizes=st.lists(st.integers(2, 7), min_size=6, max_size=6),
    max_tokens=st.integers(1, 120),
)
def test_every_row_is_in_exactly_one_micro_batch_beside_its_own_prompt(
    seeds: list[int], sizes: list[int], max_tokens: int
) -> None:
    groups = [
        random_group(seed=seed, rewards=(1.0,) + (0.0,) * (size - 1)) for seed, size in zip(seeds, sizes, strict=False)
    ]

    planned = plan(mixed(*groups), max_tokens=max_tokens)

    packed = [(rows.prompt_ids, rollout.rid) for batch in planned for rows in batch for rollout in rows.rollouts]
    assert sorted(packed) == sorted((group.prompt_ids, rollout.rid) for group in groups for rollout in group.rollouts)
    for batch in planned:
        assert padded_tokens(batch) <= max_tokens or sum(len(rows.rollouts) for rows in batch) == 1


def test_advantages_follow_their_rollouts_when_a_group_is_cut() -> None:
    (whole,) = mixed(random_group(rewards=(1.0, 0.0, 0.25, 0.9)))
    expected = {r.rid: a for r, a in zip(whole.rows.rollouts, whole.rows.advantages, strict=True)}

    pieces = [rows for batch in plan([whole], max_tokens=1) for rows in batch]

    assert len(pieces) == 4
    assert {piece.rollouts[0].rid: piece.advantages[0] for piece in pieces} == expected


def test_prompts_are_padded_on_the_left_and_completions_on_the_right() -> None:
    short = random_group(seed=1, prompt_tokens=2, rewards=(1.0, 0.0))
    long = random_group(seed=2, prompt_tokens=4, rewards=(1.0, 0.0, 0.0))

    batch = collate([group.rows for group in mixed(short, long)], CPU)

    assert batch.prompt_ids_GP[0].tolist() == [0, 0, *short.prompt_ids]
    assert batch.prompt_mask_GP.tolist() == [[False, False, True, True], [True] * 4]
    assert batch.prompt_positions_GP.tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert batch.prompt_of_row_R.tolist() == [0, 0, 1, 1, 1]
    assert batch.completion_positions_RT[:, 0].tolist() == [2, 2, 4, 4, 4]
    assert batch.num_prompt_tokens == 6
    for index, rollout in enumerate([*short.rollouts, *long.rollouts]):
        length = len(rollout.token_ids)
        padding = batch.completion_ids_RT.shape[1] - length
        assert batch.completion_ids_RT[index].tolist() == [*rollout.token_ids, *[0] * padding]
        assert batch.completion_mask_RT[index].tolist() == [True] * length + [False] * padding
        torch.testing.assert_close(batch.behaviour_logprobs_RT[index, :length], torch.tensor(rollout.logprobs))
        assert (batch.behaviour_logprobs_RT[index, length:] == 0).all()


def test_groups_of_like_length_share_a_micro_batch() -> None:
    prompts = (50, 5, 51, 6)
    groups = [random_group(seed=index, prompt_tokens=length) for index, length in enumerate(prompts)]
    planned = plan(mixed(*groups), max_tokens=160)
    assert [[len(rows.prompt_ids) for rows in batch] for batch in planned] == [[5, 6], [50, 51]]


def test_a_batch_of_random_groups_has_one_advantage_per_row() -> None:
    batch = collate([group.rows for group in mixed(*random_batch())], CPU)
    assert batch.advantages_R.shape == batch.prompt_of_row_R.shape == (14,)
