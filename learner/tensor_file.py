"""A safetensors file that is written piece by piece, by one process or by several at once.

Owns: making the file at its full size and writing elements to their place in it. Never holds a tensor. Invariant: the
file is the one that safetensors itself writes for the same tensors, byte by byte, once every element has been written;
before that nobody else may read it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from learner.safetensors_header import StoredTensor, TensorEntry, encoded_header, stored_tensors
from scheduler.core.errors import InvalidCheckpoint

DTYPE_CODES: Mapping[torch.dtype, str] = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}
"""Types that are written, in safetensors' words."""


def entry_of(tensor: Tensor, dtype: torch.dtype | None = None) -> TensorEntry:
    """How a tensor is written: in `dtype`, or in its own."""
    return TensorEntry(dtype=DTYPE_CODES[dtype or tensor.dtype], shape=tuple(tensor.shape))


def lay_out(path: Path, entries: Mapping[str, TensorEntry]) -> None:
    """Make a file that has the header and the size, and whose elements are still to be written."""
    header, num_bytes = encoded_header(entries)
    with path.open("xb") as file:
        file.write(header)
        file.truncate(len(header) + num_bytes)


class TensorFile:
    """A file that was laid out, open for writing."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._places: dict[str, StoredTensor] = {tensor.name: tensor for tensor in stored_tensors(path)}

    @classmethod
    @contextmanager
    def writing(cls, path: Path, *, durable: bool) -> Iterator["TensorFile"]:
        """Open it; `durable` makes this process's part survive a power cut before the block is left."""
        with path.open("r+b", buffering=0) as file:
            yield cls(path, file)
            if durable:
                os.fsync(file.fileno())

    def write(self, name: str, first: int, piece_N: Tensor) -> None:
        """Write a flat piece, on the CPU and in the file's type, whose first element is number `first` of its tensor.

        Raises InvalidCheckpoint where a floating value is not finite: the file is then good for nothing.
        """
        # One pass over memory instead of several: a sum is finite only if every term is.
        if piece_N.is_floating_point() and not torch.isfinite(piece_N.sum()):
            raise InvalidCheckpoint(
                f"{name} holds a value that is not finite: these weights must not leave the learner"
            )
        self._file.seek(self._places[name].start + first * piece_N.itemsize)
        content = memoryview(piece_N.contiguous().view(torch.uint8).numpy().data)
        while content:
            content = content[self._file.write(content) :]


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a file whose names begin with `prefix`, without it; each is read when it is asked for."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._path = path
        self._prefix = prefix
        self._names = [t.name.removeprefix(prefix) for t in stored_tensors(path) if t.name.startswith(prefix)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(f"{self._prefix}{name}")
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
