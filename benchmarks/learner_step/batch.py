"""The batch that both trainers are given.

Owns: its sizes and its tokens, drawn from a seed. Invariant: every group is mixed and no completion comes twice, so
that neither trainer may leave anything out.
"""

import random
from pathlib import Path

import msgspec

from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.types import FinishReason, Group, Rollout, Stage, VersionSpan

_VOCABULARY = 49_000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How large a batch is."""

    groups: int = 2
    rollouts: int = 16
    prompt_tokens: int = 96
    """Mean; each prompt has from half of it to one and a half."""
    completion_tokens: int = 64
    """Mean, likewise."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout as a trainer without groups sees it."""

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float


def draw(shape: Shape, *, seed: int = 0) -> list[Group]:
    """The batch's groups."""
    chance = random.Random(seed)

    def tokens(mean: int) -> tuple[int, ...]:
        return tuple(chance.randrange(100, _VOCABULARY) for _ in range(chance.randint(mean // 2, mean + mean // 2)))

    return [
        Group(
            group_id=f"g{number}",
            prompt_id=f"p{number}",
            prompt_ids=tokens(shape.prompt_tokens),
            rollouts=tuple(
                _rollout(f"g{number}-{place}", tokens(shape.completion_tokens), place)
                for place in range(shape.rollouts)
            ),
        )
        for number in range(shape.groups)
    ]


def _rollout(rid: str, token_ids: tuple[int, ...], place: int) -> Rollout:
    return Rollout(
        rid=rid,
        stage=Stage.PILOT,
        token_ids=TokenIds.of(token_ids),
        logprobs=Logprobs.of([-10.0] * len(token_ids)),
        finish_reason=FinishReason.LENGTH,
        spans=(VersionSpan(version=1, start=0, end=len(token_ids)),),
        reward=float(place % 2),
        correct=bool(place % 2),
    )


def write_rows(groups: list[Group], path: Path) -> int:
    """The same batch, row by row, for a trainer that knows no groups; returns its generated tokens."""
    rows = [
        Row(
            prompt_ids=list(group.prompt_ids),
            completion_ids=list(rollout.token_ids),
            advantage=1.0 if rollout.correct else -1.0,
        )
        for group in groups
        for rollout in group.rollouts
    ]
    path.write_bytes(msgspec.json.encode(rows))
    return sum(len(row.completion_ids) for row in rows)
