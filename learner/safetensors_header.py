"""The header of a safetensors file: which tensors it holds, and where.

Owns: the format as far as that, both ends: a length in 8 bytes, a JSON header of that length, then the tensors. Never
reads a tensor. Invariant: whatever a file holds, it is read within bounds, and answered or refused as
InvalidCheckpoint; a header is written as safetensors itself writes it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from scheduler.core.errors import InvalidCheckpoint

MAX_HEADER_BYTES = 100_000_000
"""Longest header that the safetensors format allows."""
_LENGTH_BYTES = 8
_ELEMENT_BYTES = {"F32": 4, "BF16": 2, "U8": 1}
"""Of the types that are written, those with wider elements first, as their tensors are."""


class TensorEntry(BaseModel):
    """One tensor of a safetensors file, in that format's own words (`F32`, `BF16`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    shape: tuple[int, ...]


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


def encoded_header(entries: Mapping[str, TensorEntry]) -> tuple[bytes, int]:
    """What a file with these tensors begins with, and how many bytes of tensors follow."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    widths = list(_ELEMENT_BYTES)
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (widths.index(item[1].dtype), item[0])):
        start, end = end, end + math.prod(entry.shape) * _ELEMENT_BYTES[entry.dtype]
        header[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
    content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at a multiple of 8.
    content += b" " * (-len(content) % _LENGTH_BYTES)
    return len(content).to_bytes(_LENGTH_BYTES, "little") + content, end
