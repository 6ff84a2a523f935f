"""Published weights, cut into buckets to be broadcast.

Owns: where each bucket begins and ends in the file. Never copies a byte and never computes: a bucket is a stretch of
the file, mapped. Invariant: the stretches cover the tensors of the file once, in the file's own order, which
safetensors keeps sorted by alignment, so that no tensor begins at an odd place.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path

from learner.model_files import WEIGHTS
from learner.safetensors_header import StoredTensor, stored_tensors
from scheduler.core.broadcast import Bucket, TensorSpec
from scheduler.core.errors import InvalidCheckpoint

_DTYPES = {"F32": "float32", "BF16": "bfloat16"}
"""safetensors' words for floating types, in torch's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One bucket and its place in the file."""

    bucket: Bucket
    start: int
    num_bytes: int

    def mapped(self, weights: Path) -> memoryview:
        """The bucket's bytes in a folder of published weights, wherever the kernel has them.

        Published files never shrink: one that did would kill the process. A folder may be deleted meanwhile. Raises
        OSError where the bytes are not all there.
        """
        begin = self.start - self.start % mmap.ALLOCATIONGRANULARITY
        with (weights / WEIGHTS).open("rb") as file:
            try:
                # Private and writable, which is what torch asks of memory that it takes over.
                pages = mmap.mmap(
                    file.fileno(), self.start + self.num_bytes - begin, access=mmap.ACCESS_COPY, offset=begin
                )
            except ValueError as exc:
                raise OSError(f"{weights / WEIGHTS} ends before {self.bucket[-1].name}") from exc
        return memoryview(pages)[self.start - begin :]


def stretches(weights: Path, bucket_bytes: int) -> tuple[Stretch, ...]:
    """The buckets of a folder of published weights: of `bucket_bytes` at most, or one larger tensor alone.

    Raises InvalidCheckpoint for a file that is not ours.
    """
    found: list[Stretch] = []
    taken: list[StoredTensor] = []
    for tensor in _tensors(weights / WEIGHTS):
        if taken and tensor.end - taken[0].start > bucket_bytes:
            found.append(_stretch(taken))
            taken = []
        taken.append(tensor)
    return (*found, _stretch(taken))


def _stretch(tensors: list[StoredTensor]) -> Stretch:
    start = tensors[0].start
    return Stretch(bucket=tuple(map(_spec, tensors)), start=start, num_bytes=tensors[-1].end - start)


def _spec(tensor: StoredTensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, dtype=_DTYPES[tensor.dtype], shape=tensor.shape)


def _tensors(path: Path) -> list[StoredTensor]:
    """All tensors by their place."""
    tensors = stored_tensors(path)
    if not tensors:
        raise InvalidCheckpoint(f"{path}: holds no tensor")
    if odd := {tensor.dtype for tensor in tensors} - _DTYPES.keys():
        raise InvalidCheckpoint(f"{path}: cannot be broadcast: it has tensors of type {', '.join(sorted(odd))}")
    return sorted(tensors, key=lambda tensor: tensor.start)
