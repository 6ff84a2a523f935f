"""Groups as rectangular tensors, each prompt once.

Owns: which groups and rollouts can teach at all, the packing of their rows into micro-batches under a token budget,
and the tensors of one micro-batch. Never computes a log-prob. Invariant: every row with a non-zero advantage is in
exactly one micro-batch, beside its own prompt.

Shape legend (the whole learner): G prompts of a micro-batch, R rows (one rollout each), P prompt tokens padded on the
left, T completion tokens padded on the right, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from scheduler.core.advantage import AdvantageKind, group_advantages
from scheduler.core.types import Group, Rollout

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rollouts of one prompt that are computed together, with their advantages: all of a group's or a part of them."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    advantages: tuple[float, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest completion."""
        return max(len(rollout.token_ids) for rollout in self.rollouts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedGroup:
    """A group whose rewards differ, so that it can teach."""

    rows: Rows
    """Only the rollouts with a non-zero advantage: the others add nothing to the gradient and are not computed."""
    num_tokens: int
    """Generated tokens of the whole group, uncomputed rollouts included: its part of the token mean's denominator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """One forward and backward pass. Masks are true at real tokens."""

    prompt_ids_GP: Tensor
    prompt_mask_GP: Tensor
    prompt_positions_GP: Tensor
    prompt_of_row_R: Tensor
    """Index into G of each row's prompt."""
    completion_ids_RT: Tensor
    completion_mask_RT: Tensor
    completion_positions_RT: Tensor
    behaviour_logprobs_RT: Tensor
    """What the server said when it sampled; zero at padding."""
    advantages_R: Tensor

    @property
    def num_prompt_tokens(self) -> int:
        """Real prompt tokens."""
        return int(self.prompt_mask_GP.sum())


def mixed_groups(groups: Iterable[Group], kind: AdvantageKind) -> list[MixedGroup]:
    """The groups that can teach, in order; a group whose advantages are all zero drops out."""
    scored = ((group, _advantages(group, kind)) for group in groups)
    return [_mixed(group, advantages) for group, advantages in scored if any(advantages)]


def plan(groups: Sequence[MixedGroup], *, max_tokens: int) -> list[list[Rows]]:
    """Pack groups into micro-batches of at most `max_tokens` padded tokens (prompts once, plus completions).

    Groups of like length go together, which keeps padding small. A group too large for one micro-batch is cut by rows,
    its prompt repeated; a single row is never cut, so one row longer than the budget still gets a micro-batch.
    """
    pieces = [piece for group in groups for piece in _cut(group.rows, max_tokens)]
    pieces.sort(key=lambda rows: (len(rows.prompt_ids), rows.longest))
    batches: list[list[Rows]] = []
    for piece in pieces:
        if batches and _padded_tokens([*batches[-1], piece]) <= max_tokens:
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches


def collate(batch: Sequence[Rows], device: torch.device) -> MicroBatch:
    """The tensors of one micro-batch."""
    rollouts = [rollout for rows in batch for rollout in rows.rollouts]
    width_P = max(len(rows.prompt_ids) for rows in batch)
    width_T = max(rows.longest for rows in batch)
    prompt_lengths_G = torch.tensor([len(rows.prompt_ids) for rows in batch])
    row_counts_G = torch.tensor([len(rows.rollouts) for rows in batch])
    prompt_of_row_R = torch.repeat_interleave(torch.arange(len(batch)), row_counts_G)
    lengths_R = torch.tensor([len(rollout.token_ids) for rollout in rollouts])
    # Positions of padding are clamped or run on: no unpadded token ever attends to it.
    prompt_positions_GP = torch.arange(width_P) - (width_P - prompt_lengths_G)[:, None]
    columns_T = torch.arange(width_T)
    tensors = MicroBatch(
        prompt_ids_GP=torch.tensor([_pad_left(rows.prompt_ids, width_P) for rows in batch]),
        prompt_mask_GP=prompt_positions_GP >= 0,
        prompt_positions_GP=prompt_positions_GP.clamp(min=0),
        prompt_of_row_R=prompt_of_row_R,
        completion_ids_RT=torch.tensor([_pad_right(r.token_ids, width_T, 0) for r in rollouts]),
        completion_mask_RT=columns_T < lengths_R[:, None],
        completion_positions_RT=prompt_lengths_G[prompt_of_row_R][:, None] + columns_T,
        behaviour_logprobs_RT=torch.tensor([_pad_right(r.logprobs, width_T, 0.0) for r in rollouts]),
        advantages_R=torch.tensor([advantage for rows in batch for advantage in rows.advantages]),
    )
    return _to(tensors, device)


def _advantages(group: Group, kind: AdvantageKind) -> list[float]:
    advantages: list[float] = group_advantages([rollout.reward for rollout in group.rollouts], kind).tolist()
    return advantages


def _mixed(group: Group, advantages: Sequence[float]) -> MixedGroup:
    taught = [pair for pair in zip(group.rollouts, advantages, strict=True) if pair[1] != 0.0]
    rows = Rows(
        prompt_ids=group.prompt_ids,
        rollouts=tuple(rollout for rollout, _ in taught),
        advantages=tuple(advantage for _, advantage in taught),
    )
    return MixedGroup(rows=rows, num_tokens=group.num_tokens)


def _cut(rows: Rows, max_tokens: int) -> list[Rows]:
    fitting = max(1, (max_tokens - len(rows.prompt_ids)) // rows.longest)
    return [
        replace(
            rows,
            rollouts=rows.rollouts[start : start + fitting],
            advantages=rows.advantages[start : start + fitting],
        )
        for start in range(0, len(rows.rollouts), fitting)
    ]


def _padded_tokens(batch: Sequence[Rows]) -> int:
    num_rows = sum(len(rows.rollouts) for rows in batch)
    widest_prompt = max(len(rows.prompt_ids) for rows in batch)
    return len(batch) * widest_prompt + num_rows * max(rows.longest for rows in batch)


def _pad_left(token_ids: tuple[int, ...], width: int) -> list[int]:
    return [0] * (width - len(token_ids)) + list(token_ids)


def _pad_right(values: tuple[Number, ...], width: int, fill: Number) -> list[Number]:
    return list(values) + [fill] * (width - len(values))


def _to(batch: MicroBatch, device: torch.device) -> MicroBatch:
    return MicroBatch(
        prompt_ids_GP=batch.prompt_ids_GP.to(device),
        prompt_mask_GP=batch.prompt_mask_GP.to(device),
        prompt_positions_GP=batch.prompt_positions_GP.to(device),
        prompt_of_row_R=batch.prompt_of_row_R.to(device),
        completion_ids_RT=batch.completion_ids_RT.to(device),
        completion_mask_RT=batch.completion_mask_RT.to(device),
        completion_positions_RT=batch.completion_positions_RT.to(device),
        behaviour_logprobs_RT=batch.behaviour_logprobs_RT.to(device),
        advantages_R=batch.advantages_R.to(device),
    )
