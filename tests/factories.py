"""Factories: each test names only what it is about."""

from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.types import Completion, FinishReason, Group, Rollout, Stage, VersionSpan


def make_completion(
    *,
    rid: str = "rid",
    token_ids: tuple[int, ...] = (5, 7),
    logprobs: tuple[float, ...] | None = None,
    text: str = " 7",
    finish_reason: FinishReason = FinishReason.STOP,
    version: int = 1,
) -> Completion:
    """A completion sampled under one weight version."""
    return Completion(
        rid=rid,
        token_ids=TokenIds.of(token_ids),
        logprobs=Logprobs.of(logprobs if logprobs is not None else (-0.5 for _ in token_ids)),
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=3,
        spans=(VersionSpan(version=version, start=0, end=len(token_ids)),),
    )


def make_rollout(
    *,
    reward: float = 1.0,
    correct: bool | None = None,
    rid: str = "rid",
    stage: Stage = Stage.PILOT,
    token_ids: tuple[int, ...] = (5, 7),
    logprobs: tuple[float, ...] | None = None,
    version: int = 1,
    text: str = "",
) -> Rollout:
    """A rollout whose correctness follows its reward unless said otherwise."""
    return Rollout(
        rid=rid,
        stage=stage,
        token_ids=TokenIds.of(token_ids),
        logprobs=Logprobs.of(logprobs if logprobs is not None else (-0.5 for _ in token_ids)),
        finish_reason=FinishReason.STOP,
        spans=(VersionSpan(version=version, start=0, end=len(token_ids)),),
        reward=reward,
        correct=reward > 0 if correct is None else correct,
        text=text,
    )


def make_group(
    *,
    group_id: str = "group",
    prompt_id: str = "prompt",
    prompt_ids: tuple[int, ...] = (1, 2, 3),
    rewards: tuple[float, ...] = (1.0, 0.0),
    version: int = 1,
    selection_probability: float = 1.0,
) -> Group:
    """A group with one rollout per reward."""
    return Group(
        group_id=group_id,
        prompt_id=prompt_id,
        prompt_ids=prompt_ids,
        rollouts=tuple(
            make_rollout(reward=reward, rid=f"{group_id}-{index}", version=version)
            for index, reward in enumerate(rewards)
        ),
        selection_probability=selection_probability,
    )
