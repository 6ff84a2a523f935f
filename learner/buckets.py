"""Published weights, cut into buckets to be broadcast.

Owns: where each bucket begins and ends in the file. Never copies a tensor and never computes: a bucket is a stretch of
the file. Invariant: the stretches cover the tensors of the file once, in the file's own order, which safetensors keeps
sorted by alignment, so that no tensor begins at an odd place.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from learner.model_files import WEIGHTS
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

    def read(self, weights: Path) -> bytearray:
        """The bucket's bytes out of a folder of published weights. Raises OSError where they are not all there."""
        content = bytearray(self.num_bytes)
        with (weights / WEIGHTS).open("rb") as file:
            file.seek(self.start)
            if file.readinto(content) != self.num_bytes:
                raise OSError(f"{weights / WEIGHTS} ends before {self.bucket[-1].name}")
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    spec: TensorSpec
    start: int
    end: int


def stretches(weights: Path, bucket_bytes: int) -> tuple[Stretch, ...]:
    """The buckets of a folder of published weights: of `bucket_bytes` at most, or one larger tensor alone.

    Raises InvalidCheckpoint for a file that is not ours.
    """
    found: list[Stretch] = []
    taken: list[_Tensor] = []
    for tensor in _tensors(weights / WEIGHTS):
        if taken and tensor.end - taken[0].start > bucket_bytes:
            found.append(_stretch(taken))
            taken = []
        taken.append(tensor)
    return (*found, _stretch(taken))


def _stretch(tensors: list[_Tensor]) -> Stretch:
    start = tensors[0].start
    return Stretch(bucket=tuple(tensor.spec for tensor in tensors), start=start, num_bytes=tensors[-1].end - start)


def _tensors(path: Path) -> list[_Tensor]:
    """All tensors by their place. The format: a length in 8 bytes, a JSON header of that length, then the tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = [
            _Tensor(
                spec=TensorSpec(name=name, dtype=_DTYPES[entry["dtype"]], shape=tuple(entry["shape"])),
                start=8 + length + entry["data_offsets"][0],
                end=8 + length + entry["data_offsets"][1],
            )
            for name, entry in header.items()
        ]
    except (OSError, ValueError, KeyError) as exc:
        raise InvalidCheckpoint(f"{path}: cannot be broadcast: {exc!r}") from exc
    if not tensors:
        raise InvalidCheckpoint(f"{path}: holds no tensor")
    return sorted(tensors, key=lambda tensor: tensor.start)
