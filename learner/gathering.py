"""A sharded tensor brought to rank 0, piece by piece, on its way into a file.

Owns: the order in which ranks send. Never holds a tensor: invariant: beside its own shard rank 0 has at most two pieces
in memory, whatever the size of the tensor or of the model.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from learner.ranks import Ranks
from learner.sharding import is_sharded, own, span

PIECE_BYTES = 1 << 26
"""Of one message and one write: long enough for both to run at full speed."""


def gathered(
    tensor: Tensor, ranks: Ranks, *, dtype: torch.dtype, piece_bytes: int = PIECE_BYTES
) -> Iterator[tuple[int, Tensor]]:
    """On rank 0: all elements of a tensor in `dtype`, as pairs of the first one's place and a flat piece on the CPU.

    They come in the tensor's order, each to be used before the next is asked for. Meanwhile the others `send`.
    """
    length = max(piece_bytes // dtype.itemsize, 1)
    yield from _pieces(own(tensor), length, torch.device("cpu"), dtype)
    if not is_sharded(tensor):
        return
    buffer_N = torch.empty(min(length, tensor.numel()), dtype=dtype, device=own(tensor).device)
    for sender in range(1, ranks.size):
        elements = span(tensor, sender, ranks)
        for first in range(elements.start, elements.stop, length):
            piece_N = buffer_N[: min(length, elements.stop - first)]
            dist.recv(piece_N, sender)
            yield first, piece_N.cpu()


def send(tensor: Tensor, *, dtype: torch.dtype, piece_bytes: int = PIECE_BYTES) -> None:
    """On every other rank: this rank's part of a tensor that rank 0 gathers."""
    if not is_sharded(tensor):
        return
    # A rank without rows has none to send, and nobody waits for them.
    for _, piece_N in _pieces(own(tensor), max(piece_bytes // dtype.itemsize, 1), own(tensor).device, dtype):
        dist.send(piece_N, 0)


def _pieces(tensor: Tensor, length: int, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
    flat_N = tensor.detach().reshape(-1)
    for first in range(0, flat_N.numel(), length):
        yield first, flat_N[first : first + length].to(device, dtype)
