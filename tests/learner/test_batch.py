"""Groups become rectangular tensors, and no rollout is lost on the way."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.batch import MixedGroup, Rows, collate, mixed_groups, plan
from scheduler.core.advantage import AdvantageKind
from scheduler.core.packed import Logprobs, TokenIds
from tests.factories import make_group
from tests.learner.random_groups import random_batch, random_group

CPU = torch.device("cpu")


def mixed(*groups: object) -> list[MixedGroup]:
    return mixed_groups(groups, AdvantageKind.GRPO)  # type: ignore[arg-type]


def padded_tokens(batch: list[Rows]) -> int:
    tensors = collate(batch, CPU)
    return tensors.prompt_ids_GP.numel() + tensors.completion_ids_DT.numel()


def test_a_group_whose_rewards_agree_drops_out() -> None:
    uniform = make_group(group_id="uniform", rewards=(1.0, 1.0))
    assert [group.rows.prompt_ids for group in mixed(uniform, make_group(prompt_ids=(9, 9)))] == [(9, 9)]


def test_a_rollout_without_advantage_is_not_computed_but_counts_in_the_denominator() -> None:
    group = make_group(rewards=(1.0, 0.5, 0.0))
    (kept,) = mixed(group)
    assert [rollout.rid for rollout in kept.rows.rollouts] == ["group-0", "group-2"]
    assert kept.num_tokens == group.num_tokens == 6


def test_a_masked_rollout_is_neither_trained_on_nor_in_any_mean() -> None:
    group = make_group(rewards=(1.0, 0.0, 0.0))
    masked = replace(group, rollouts=(*group.rollouts[:2], replace(group.rollouts[2], masked=True)))
    (kept,) = mixed(masked)
    assert [rollout.rid for rollout in kept.rows.rollouts] == ["group-0", "group-1"]
    assert kept.rows.advantages == (1.0, -1.0), "its reward moves no baseline"
    assert kept.num_tokens == 4, "its tokens are not in the token mean"


def test_a_group_whose_rewards_differ_by_what_is_masked_alone_drops_out() -> None:
    group = make_group(rewards=(1.0, 0.0))
    assert mixed(replace(group, rollouts=(group.rollouts[0], replace(group.rollouts[1], masked=True)))) == []


# No deadline: the machine may be busy with servers.
@settings(deadline=None)
@given(
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True),
    sizes=st.lists(st.integers(2, 7), min_size=6, max_size=6),
    num_completions=st.integers(1, 7),
    max_tokens=st.integers(1, 120),
)
def test_every_rollout_is_in_exactly_one_micro_batch_beside_its_own_prompt(
    seeds: list[int], sizes: list[int], num_completions: int, max_tokens: int
) -> None:
    groups = [
        random_group(seed=seed, rewards=(1.0,) + (0.0,) * (size - 1), num_completions=num_completions)
        for seed, size in zip(seeds, sizes, strict=False)
    ]

    planned = plan(mixed(*groups), max_tokens=max_tokens)

    packed = [(rows.prompt_ids, rollout.rid) for batch in planned for rows in batch for rollout in rows.rollouts]
    assert sorted(packed) == sorted((group.prompt_ids, rollout.rid) for group in groups for rollout in group.rollouts)
    for batch in planned:
        assert padded_tokens(batch) <= max_tokens or sum(len(rows.completions) for rows in batch) == 1
    computed = [(rows.prompt_ids, completion) for batch in planned for rows in batch for completion in rows.completions]
    assert len(computed) == len(set(computed)), "rollouts of equal tokens were torn apart"


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
    assert batch.prompt_of_row_D.tolist() == [0, 0, 1, 1, 1]
    assert batch.completion_positions_DT[:, 0].tolist() == [2, 2, 4, 4, 4]
    assert batch.num_prompt_tokens == 6
    for index, rollout in enumerate([*short.rollouts, *long.rollouts]):
        length = len(rollout.token_ids)
        padding = batch.completion_ids_DT.shape[1] - length
        assert batch.completion_ids_DT[index].tolist() == [*rollout.token_ids, *[0] * padding]
        assert batch.completion_mask_RT[index].tolist() == [True] * length + [False] * padding
        torch.testing.assert_close(batch.behaviour_logprobs_RT[index, :length], torch.tensor(rollout.logprobs))
        assert (batch.behaviour_logprobs_RT[index, length:] == 0).all()


def test_groups_of_like_length_share_a_micro_batch() -> None:
    prompts = (50, 5, 51, 6)
    groups = [random_group(seed=index, prompt_tokens=length) for index, length in enumerate(prompts)]
    planned = plan(mixed(*groups), max_tokens=160)
    assert [[len(rows.prompt_ids) for rows in batch] for batch in planned] == [[5, 6], [50, 51]]


def test_a_batch_of_random_groups_has_one_advantage_per_rollout() -> None:
    batch = collate([group.rows for group in mixed(*random_batch())], CPU)
    assert batch.advantages_R.shape == batch.row_of_rollout_R.shape == (14,)


def test_rollouts_of_equal_tokens_share_a_row_and_keep_their_own_logprobs_and_advantages() -> None:
    group = random_group(rewards=(1.0, 0.0, 0.0, 0.5, 0.0), num_completions=2)
    other = replace(group, group_id="other", prompt_ids=(5, 6), rollouts=group.rollouts[1:3])
    assert [group.rollouts[0].token_ids == rollout.token_ids for rollout in group.rollouts] == [True, False] * 2 + [
        True
    ]

    (rows,) = (one.rows for one in mixed(group))
    second = replace(rows, prompt_ids=other.prompt_ids, rollouts=other.rollouts, advantages=(0.5, -0.5))
    batch = collate([rows, second], CPU)

    assert batch.completion_ids_DT.shape[0] == 4
    assert batch.prompt_of_row_D.tolist() == [0, 0, 1, 1]
    assert batch.row_of_rollout_R.tolist() == [0, 1, 0, 1, 0, 2, 3]
    torch.testing.assert_close(batch.advantages_R, torch.tensor([*rows.advantages, 0.5, -0.5]))
    for index, rollout in enumerate([*group.rollouts, *other.rollouts]):
        assert batch.completion_mask_RT[index].sum() == len(rollout.token_ids)
        torch.testing.assert_close(
            batch.behaviour_logprobs_RT[index, : len(rollout.token_ids)], torch.tensor(rollout.logprobs)
        )


def test_the_token_budget_counts_equal_rollouts_once() -> None:
    group = random_group(rewards=(1.0, 0.0) * 16, num_completions=2, prompt_tokens=4, max_new_tokens=6)
    assert len(plan(mixed(group), max_tokens=4 + 2 * 6)) == 1


def test_a_group_is_cut_so_that_completions_of_like_length_share_a_piece() -> None:
    lengths = (1, 9, 2, 8)
    whole = mixed(random_group(rewards=(1.0, 0.0, 0.0, 1.0), prompt_tokens=2))[0].rows
    rollouts = tuple(
        replace(rollout, token_ids=TokenIds.of([7] * length), logprobs=Logprobs.of([-1.0] * length))
        for rollout, length in zip(whole.rollouts, lengths, strict=True)
    )
    planned = plan([MixedGroup(rows=replace(whole, rollouts=rollouts), num_tokens=20)], max_tokens=20)
    assert [[len(ids) for rows in batch for ids in rows.completions] for batch in planned] == [[1, 2], [9, 8]]


@pytest.mark.parametrize(("cap", "weight"), [(1.0, 1.0), (3.0, 3.0), (100.0, 4.0)])
def test_an_unlikely_group_weighs_the_inverse_of_its_probability_up_to_the_cap(cap: float, weight: float) -> None:
    certain = make_group(rewards=(1.0, 0.0, 0.0))
    unlikely = replace(certain, selection_probability=0.25)
    plain, weighted = mixed_groups([certain, unlikely], AdvantageKind.RLOO, selection_weight_cap=cap)
    assert plain.rows.advantages == pytest.approx((1.0, -0.5, -0.5))
    assert weighted.rows.advantages == pytest.approx(tuple(weight * value for value in plain.rows.advantages))
    assert weighted.num_tokens == plain.num_tokens


def expected_gradient(success_rate: float, *, selection_weight_cap: float) -> float:
    """Gradient of the success rate that groups of two pilots and two commits teach, in expectation, by enumeration.

    Two right or two wrong pilots are committed with probability 0.2, one of each always. A rollout's score is that of
    a coin, (reward - p) / (p (1 - p)), so that an unbiased gradient of four rollouts is 4.
    """
    total = 0.0
    for rewards in product((1.0, 0.0), repeat=4):
        selection = 1.0 if rewards[0] != rewards[1] else 0.2
        likelihood = success_rate ** sum(rewards) * (1 - success_rate) ** (4 - sum(rewards))
        group = make_group(rewards=rewards, selection_probability=selection)
        for one in mixed_groups([group], AdvantageKind.RLOO, selection_weight_cap=selection_weight_cap):
            taught = zip(one.rows.rollouts, one.rows.advantages, strict=True)
            scores = ((r.reward - success_rate) / (success_rate * (1 - success_rate)) * a for r, a in taught)
            total += likelihood * selection * sum(scores)
    return total


@pytest.mark.parametrize("success_rate", [0.05, 0.3, 0.8])
def test_weighting_by_inverse_probability_undoes_the_bias_of_selection(success_rate: float) -> None:
    assert expected_gradient(success_rate, selection_weight_cap=5.0) == pytest.approx(4.0)
    unweighted = expected_gradient(success_rate, selection_weight_cap=1.0)
    truncated = expected_gradient(success_rate, selection_weight_cap=2.0)
    assert unweighted < truncated < 3.9
