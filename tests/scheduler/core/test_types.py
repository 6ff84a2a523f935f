"""The values that are passed around."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.packed import TokenIds
from scheduler.core.types import Group, Judgement, Prompt, Rollout, Stage, VersionSpan
from tests.factories import make_completion, make_group, make_rollout

versions = st.lists(st.integers(1, 50), min_size=1, max_size=6)


def spanning(rollout_versions: list[int]) -> Rollout:
    """A rollout with one token under each version."""
    spans = tuple(
        VersionSpan(version=version, start=index, end=index + 1) for index, version in enumerate(rollout_versions)
    )
    return dataclasses.replace(make_rollout(token_ids=tuple(range(len(spans)))), spans=spans)


def test_a_judged_completion_keeps_all_of_its_evidence() -> None:
    completion = make_completion(rid="a1", token_ids=(4, 5, 6), text=" 12", version=7)
    rollout = Rollout.judged(completion, Stage.COMMIT, Judgement(reward=0.25, correct=True))
    assert rollout == Rollout(
        rid="a1",
        stage=Stage.COMMIT,
        token_ids=TokenIds.of((4, 5, 6)),
        logprobs=completion.logprobs,
        finish_reason=completion.finish_reason,
        spans=completion.spans,
        reward=0.25,
        correct=True,
        text=" 12",
    )


@pytest.mark.parametrize("correct", [True, False])
def test_being_right_is_not_read_off_the_shaped_reward(correct: bool) -> None:
    rollout = Rollout.judged(make_completion(), Stage.PILOT, Judgement(reward=0.5, correct=correct))
    assert (rollout.reward, rollout.correct) == (0.5, correct)


@given(versions)
def test_a_rollout_is_as_old_as_its_oldest_token(rollout_versions: list[int]) -> None:
    assert spanning(rollout_versions).oldest_version == min(rollout_versions)


@given(st.lists(versions, min_size=1, max_size=5))
def test_a_group_is_as_stale_as_its_oldest_token(by_rollout: list[list[int]]) -> None:
    group = Group(
        group_id="g", prompt_id="p", prompt_ids=(1,), rollouts=tuple(spanning(versions) for versions in by_rollout)
    )
    assert group.oldest_version == min(version for versions in by_rollout for version in versions)


@given(st.lists(versions, min_size=1, max_size=5))
def test_a_group_counts_the_generated_tokens_of_all_its_rollouts(by_rollout: list[list[int]]) -> None:
    group = Group(
        group_id="g",
        prompt_id="p",
        prompt_ids=tuple(range(100)),
        rollouts=tuple(spanning(versions) for versions in by_rollout),
    )
    assert group.num_tokens == sum(map(len, by_rollout))


def test_a_masked_rollout_does_not_count_in_training() -> None:
    kept, masked = make_rollout(token_ids=(1, 2, 3)), make_rollout(token_ids=(1,) * 9)
    group = dataclasses.replace(make_group(), rollouts=(kept, dataclasses.replace(masked, masked=True)))
    assert group.trained == (kept,)
    assert group.num_tokens == 3


def test_a_group_was_committed_for_certain_unless_said_otherwise() -> None:
    assert make_group().selection_probability == 1.0


@pytest.mark.parametrize(
    ("value", "field"),
    [(make_rollout(), "reward"), (make_group(), "rollouts"), (Prompt(prompt_id="p", input_ids=(1,)), "input_ids")],
)
def test_values_are_frozen(value: object, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)


def test_prompts_do_not_share_their_metadata() -> None:
    first, second = Prompt(prompt_id="a", input_ids=(1,)), Prompt(prompt_id="b", input_ids=(1,))
    assert first.metadata is not second.metadata
