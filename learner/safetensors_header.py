"""The header of a safetensors file: which tensors it holds, and where.

Owns: the format as far as that: a length in 8 bytes, a JSON header of that length, then the tensors. Never reads a
tensor. Invariant: whatever a file holds, it is read within bounds, and answered or refused as InvalidCheckpoint.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.errors import InvalidCheckpoint

MAX_HEADER_BYTES = 100_000_000
"""Longest header that the safetensors format allows."""
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor in its file."""

    name: str
    dtype: str
    """In the format's own words: `F32`, `BF16`."""
    shape: tuple[int, ...]
    start: int
    """Its first byte in the file."""
    end: int


def stored_tensors(path: Path) -> list[StoredTensor]:
    """Every tensor of a file, as its header lists them. Raises InvalidCheckpoint for what is no safetensors file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        first = _LENGTH_BYTES + length
        return [
            StoredTensor(
                name=name,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                start=first + entry["data_offsets"][0],
                end=first + entry["data_offsets"][1],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise InvalidCheckpoint(f"{path}: not a safetensors file: {exc}") from exc
