"""Causal attention over many short sequences whose keys and values lie in one paged cache, on a CPU.

Owns: how a batch is cut into chunks of similar sequences, padded and attended. Runs in SGLang's interpreter (see
attention_backend), so it knows torch and nothing of ours or of SGLang. Invariant: rounding apart, the same numbers as
attending one sequence after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention

_KEY_STEP = 32
"""Within a chunk no sequence is padded by more keys."""
_MAX_PAIRS = 1 << 22
"""Query-key pairs of a chunk, over all its sequences: bounds the memory of its mask, keys and values."""


@dataclass(frozen=True)
class Chunk:
    """B sequences attended together, with at most Q queries and K keys each and R queries in all."""

    rows: torch.Tensor
    """(R,) long: which rows of the batch's queries are theirs."""
    places: torch.Tensor
    """(R,) long: where each of those stands among the B·Q padded queries."""
    slots: torch.Tensor
    """(B, K) long: each key's place in the cache; past a sequence's end, that of its first key."""
    visible: torch.Tensor
    """(B, Q, K) bool: whether the query may see the key."""

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.visible.shape[1]


def cut(
    num_queries: Sequence[int], num_keys: Sequence[int], requests: torch.Tensor, slots: torch.Tensor
) -> list[Chunk]:
    """Chunks for sequences of which the last `num_queries` tokens attend to all `num_keys` up to themselves.

    The batch's query rows are ordered by sequence. `slots`: (requests, tokens), each request's places in the cache;
    `requests`: per sequence, its row there.
    """
    starts = [0]
    for count in num_queries:
        starts.append(starts[-1] + count)

    def likeness(index: int) -> tuple[int, int]:
        return num_queries[index].bit_length(), -(-num_keys[index] // _KEY_STEP)

    chunks = []
    for _, alike in groupby(sorted(range(len(num_keys)), key=likeness), key=likeness):
        members = list(alike)
        pairs = max(num_queries[i] for i in members) * max(num_keys[i] for i in members)
        size = max(1, _MAX_PAIRS // pairs)
        for first in range(0, len(members), size):
            part = members[first : first + size]
            counts, lengths = torch.tensor([[num_queries[i], num_keys[i]] for i in part]).T
            chunks.append(_chunk(torch.tensor([starts[i] for i in part]), counts, lengths, slots[requests[part]]))
    return chunks


def attend(
    chunks: Sequence[Chunk],
    query: torch.Tensor,
    output: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    scale: float | None,
) -> None:
    """Fill `output` (rows, heads, value size) from `query` (rows, heads, size) and the caches (slots, groups, size)."""
    heads, groups = query.shape[1], k_cache.shape[1]
    for chunk in chunks:
        B, Q, G = len(chunk.slots), chunk.num_queries, heads // groups
        padded = query.new_zeros(B * Q, heads, query.shape[2])
        padded[chunk.places] = query[chunk.rows]
        # The G heads of a group share its keys: they become G times as many queries, and no key is repeated.
        queries = padded.view(B, Q, groups, G, -1).permute(0, 2, 3, 1, 4).reshape(B, groups, G * Q, -1)
        keys, values = (cache[chunk.slots].transpose(1, 2).to(query.dtype) for cache in (k_cache, v_cache))
        visible = chunk.visible.repeat(1, G, 1).unsqueeze(1)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=visible, scale=scale)
        attended = attended.view(B, groups, G, Q, -1).permute(0, 3, 1, 2, 4).reshape(B * Q, heads, -1)
        output[chunk.rows] = attended[chunk.places]


def _chunk(starts: torch.Tensor, counts: torch.Tensor, lengths: torch.Tensor, slots: torch.Tensor) -> Chunk:
    """Of B sequences; each (B,) long, `slots` (B, tokens)."""
    order_Q, order_K = torch.arange(int(counts.max())), torch.arange(int(lengths.max()))
    is_query, is_key = order_Q < counts[:, None], order_K < lengths[:, None]
    slots = slots[:, : len(order_K)].long()
    # A padding query sees what the last one does: one that saw nothing would be NaN.
    position = (lengths - counts)[:, None] + order_Q.minimum(counts[:, None] - 1)
    return Chunk(
        rows=(starts[:, None] + order_Q)[is_query],
        places=is_query.flatten().nonzero().squeeze(1),
        slots=slots.where(is_key, slots[:, :1]),
        visible=order_K <= position[:, :, None],
    )
