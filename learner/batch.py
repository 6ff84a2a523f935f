"""Groups as rectangular tensors: each prompt once, and each of its distinct completions once.

Owns: which groups and rollouts can teach at all, their weights, the packing of their rows into micro-batches under a
token budget, and the tensors of one micro-batch. Never computes a log-prob. Invariant: every rollout with a non-zero
advantage is in exactly one micro-batch, beside its own prompt and together with its group's rollouts of equal tokens.

Shape legend (the whole learner): G prompts of a micro-batch, D rows (distinct completions of a prompt), R rollouts,
P prompt tokens padded on the left, T completion tokens padded on the right, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.core.advantage import AdvantageKind, counted_advantages
from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.types import Group, Rollout

IDLE_WIDTH = 2
"""T of an idle micro-batch: as few as make the model compute both a prompt and a continuation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rollouts of one prompt that are computed together, with their advantages: all of a group's or a part of them."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    advantages: tuple[float, ...]

    @property
    def completions(self) -> tuple[TokenIds, ...]:
        """Token ids of the distinct completions, in the order of their first rollouts: what has to be computed."""
        return tuple(dict.fromkeys(rollout.token_ids for rollout in self.rollouts))


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedGroup:
    """A group whose rewards differ, so that it can teach."""

    rows: Rows
    """Only the rollouts with a non-zero advantage: the others add nothing to the gradient and are not computed."""
    num_tokens: int
    """Generated tokens of the whole group, uncomputed rollouts included and masked ones not: its part of the token
    mean's denominator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """One forward and backward pass. Masks are true at real tokens."""

    prompt_ids_GP: Tensor
    prompt_mask_GP: Tensor
    prompt_positions_GP: Tensor
    prompt_of_row_D: Tensor
    """Index into G of each row's prompt."""
    completion_ids_DT: Tensor
    completion_mask_DT: Tensor
    completion_positions_DT: Tensor
    row_of_rollout_R: Tensor
    """Index into D of each rollout's completion."""
    behaviour_logprobs_RT: Tensor
    """What the server said when it sampled; zero at padding."""
    advantages_R: Tensor
    is_idle: bool = False
    """Computed only because another rank computes one more; its mask is false throughout."""

    @property
    def completion_mask_RT(self) -> Tensor:
        """The mask of every rollout's own tokens."""
        return self.completion_mask_DT.index_select(0, self.row_of_rollout_R)

    @property
    def num_prompt_tokens(self) -> int:
        """Real prompt tokens."""
        return int(self.prompt_mask_GP.sum())


def mixed_groups(
    groups: Iterable[Group], kind: AdvantageKind, *, selection_weight_cap: float = 1.0
) -> list[MixedGroup]:
    """The groups that can teach, in order; a group whose advantages are all zero drops out.

    Advantages are multiplied by min(1 / selection probability, `selection_weight_cap`): Horvitz and Thompson's weights
    (1952), which make a batch chosen at random with known probabilities an unbiased estimate of the whole, truncated
    to bound their variance. A cap of 1 weights all groups alike.
    """
    scored = ((group, _advantages(group, kind, selection_weight_cap)) for group in groups)
    return [_mixed(group, advantages) for group, advantages in scored if any(advantages)]


def plan(groups: Sequence[MixedGroup], *, max_tokens: int) -> list[list[Rows]]:
    """Cut and pack groups into micro-batches of at most `max_tokens` padded tokens."""
    return pack([piece for group in groups for piece in cut(group.rows, max_tokens)], max_tokens=max_tokens)


def padded_tokens(rows: Rows) -> int:
    """What rows cost by themselves: their prompt once, plus their distinct completions."""
    return _Extent.of(rows).padded_tokens


def cut(rows: Rows, max_tokens: int) -> list[Rows]:
    """Pieces of at most `max_tokens` padded tokens, cut between completions, the prompt repeated.

    Completions of like length share a piece where there are several, and rollouts keep their order. A single completion
    is never cut, so one longer than the budget still gets a piece, and its rollouts stay together.
    """
    if _Extent.of(rows).padded_tokens <= max_tokens:
        return [rows]
    pieces: list[set[TokenIds]] = []
    for token_ids in sorted(rows.completions, key=len):
        if pieces and len(rows.prompt_ids) + (len(pieces[-1]) + 1) * len(token_ids) <= max_tokens:
            pieces[-1].add(token_ids)
        else:
            pieces.append({token_ids})
    taught = list(zip(rows.rollouts, rows.advantages, strict=True))
    return [_rows(rows.prompt_ids, [pair for pair in taught if pair[0].token_ids in piece]) for piece in pieces]


def pack(pieces: Iterable[Rows], *, max_tokens: int) -> list[list[Rows]]:
    """Micro-batches of at most `max_tokens` padded tokens (prompts once, plus distinct completions).

    Pieces of like length go together, which keeps padding small.
    """
    sized = sorted(
        ((_Extent.of(rows), rows) for rows in pieces), key=lambda piece: (piece[0].width_P, piece[0].width_T)
    )
    batches: list[list[Rows]] = []
    filled = _Extent()
    for extent, rows in sized:
        if batches and (filled + extent).padded_tokens <= max_tokens:
            batches[-1].append(rows)
            filled += extent
        else:
            batches.append([rows])
            filled = extent
    return batches


def collate(batch: Sequence[Rows], device: torch.device, *, min_width: int = 1) -> MicroBatch:
    """The tensors of one micro-batch; T is at least `min_width`."""
    rollouts = [rollout for rows in batch for rollout in rows.rollouts]
    completions_G = [rows.completions for rows in batch]
    completions_D = [token_ids for completions in completions_G for token_ids in completions]
    width_P = max(len(rows.prompt_ids) for rows in batch)
    width_T = max(min_width, *(len(token_ids) for token_ids in completions_D))
    prompt_lengths_G = torch.tensor([len(rows.prompt_ids) for rows in batch])
    row_counts_G = torch.tensor([len(completions) for completions in completions_G])
    prompt_of_row_D = torch.repeat_interleave(torch.arange(len(batch)), row_counts_G)
    lengths_D = torch.tensor([len(token_ids) for token_ids in completions_D])
    # Positions of padding are clamped or run on: no unpadded token ever attends to it.
    prompt_positions_GP = torch.arange(width_P) - (width_P - prompt_lengths_G)[:, None]
    columns_T = torch.arange(width_T)
    tensors = MicroBatch(
        prompt_ids_GP=torch.tensor([_pad_left(rows.prompt_ids, width_P) for rows in batch]),
        prompt_mask_GP=prompt_positions_GP >= 0,
        prompt_positions_GP=prompt_positions_GP.clamp(min=0),
        prompt_of_row_D=prompt_of_row_D,
        completion_ids_DT=_padded(completions_D, width_T, torch.int64),
        completion_mask_DT=columns_T < lengths_D[:, None],
        completion_positions_DT=prompt_lengths_G[prompt_of_row_D][:, None] + columns_T,
        row_of_rollout_R=torch.tensor(_rows_of_rollouts(batch)),
        behaviour_logprobs_RT=_padded([rollout.logprobs for rollout in rollouts], width_T, torch.float32),
        advantages_R=torch.tensor([advantage for rows in batch for advantage in rows.advantages]),
    )
    return _to(tensors, device)


def idle(device: torch.device) -> MicroBatch:
    """A micro-batch that is computed like any other, of two tokens, and adds nothing."""
    one, zeros = torch.zeros(1, dtype=torch.long), torch.zeros(1, IDLE_WIDTH, dtype=torch.long)
    batch = MicroBatch(
        prompt_ids_GP=one[None],
        prompt_mask_GP=torch.ones(1, 1, dtype=torch.bool),
        prompt_positions_GP=one[None],
        prompt_of_row_D=one,
        completion_ids_DT=zeros,
        completion_mask_DT=zeros.bool(),
        completion_positions_DT=zeros,
        row_of_rollout_R=one,
        behaviour_logprobs_RT=zeros.float(),
        advantages_R=one.float(),
        is_idle=True,
    )
    return _to(batch, device)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extent:
    """What decides the padded size of rows that are computed together."""

    num_prompts: int = 0
    num_rows: int = 0
    width_P: int = 0
    width_T: int = 0

    @classmethod
    def of(cls, rows: Rows) -> "_Extent":
        completions = rows.completions
        longest = max(len(token_ids) for token_ids in completions)
        return cls(num_prompts=1, num_rows=len(completions), width_P=len(rows.prompt_ids), width_T=longest)

    def __add__(self, other: "_Extent") -> "_Extent":
        return _Extent(
            num_prompts=self.num_prompts + other.num_prompts,
            num_rows=self.num_rows + other.num_rows,
            width_P=max(self.width_P, other.width_P),
            width_T=max(self.width_T, other.width_T),
        )

    @property
    def padded_tokens(self) -> int:
        return self.num_prompts * self.width_P + self.num_rows * self.width_T


def _advantages(group: Group, kind: AdvantageKind, selection_weight_cap: float) -> list[float]:
    weight = min(1.0 / group.selection_probability, selection_weight_cap)
    rewards, counted = [r.reward for r in group.rollouts], [not r.masked for r in group.rollouts]
    advantages: list[float] = (weight * counted_advantages(rewards, counted, kind)).tolist()
    return advantages


def _mixed(group: Group, advantages: Sequence[float]) -> MixedGroup:
    taught = [pair for pair in zip(group.rollouts, advantages, strict=True) if pair[1] != 0.0]
    return MixedGroup(rows=_rows(group.prompt_ids, taught), num_tokens=group.num_tokens)


def _rows(prompt_ids: tuple[int, ...], taught: Sequence[tuple[Rollout, float]]) -> Rows:
    return Rows(
        prompt_ids=prompt_ids,
        rollouts=tuple(rollout for rollout, _ in taught),
        advantages=tuple(advantage for _, advantage in taught),
    )


def _rows_of_rollouts(batch: Sequence[Rows]) -> list[int]:
    """The place among all distinct completions of the batch of each rollout's own."""
    places: list[int] = []
    num_before = 0
    for rows in batch:
        place = {token_ids: num_before + index for index, token_ids in enumerate(rows.completions)}
        places.extend(place[rollout.token_ids] for rollout in rows.rollouts)
        num_before += len(place)
    return places


def _pad_left(token_ids: tuple[int, ...], width: int) -> list[int]:
    return [0] * (width - len(token_ids)) + list(token_ids)


def _padded(rows: Sequence[TokenIds | Logprobs], width: int, dtype: torch.dtype) -> Tensor:
    """The rows in a tensor (rows, width), with zeros on the right."""
    padded = torch.zeros((len(rows), width), dtype=dtype)
    for place, row in enumerate(rows):
        # torch warns of memory that it may not write to, and here only reads.
        padded[place, : len(row)] = torch.from_numpy(row.array.copy())
    return padded


def _to(batch: MicroBatch, device: torch.device) -> MicroBatch:
    return MicroBatch(
        prompt_ids_GP=batch.prompt_ids_GP.to(device),
        prompt_mask_GP=batch.prompt_mask_GP.to(device),
        prompt_positions_GP=batch.prompt_positions_GP.to(device),
        prompt_of_row_D=batch.prompt_of_row_D.to(device),
        completion_ids_DT=batch.completion_ids_DT.to(device),
        completion_mask_DT=batch.completion_mask_DT.to(device),
        completion_positions_DT=batch.completion_positions_DT.to(device),
        row_of_rollout_R=batch.row_of_rollout_R.to(device),
        behaviour_logprobs_RT=batch.behaviour_logprobs_RT.to(device),
        advantages_R=batch.advantages_R.to(device),
        is_idle=batch.is_idle,
    )
