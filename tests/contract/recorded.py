"""What the real SGLang 0.5.23 was once seen to answer, and how an answer is compared with it.

Owns: reading the recordings and the comparison of shapes. Invariant: values are never compared, only what kinds of JSON
stand where.
"""

import json
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "captures"
_OPAQUE = frozenset({"checksums", "bcg", "capture_batch_sizes", "preferred_sampling_params"})
"""Keys below which the shape depends on the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One recorded call."""

    method: str
    path: str
    request: object
    status: int
    response: object


def recorded(name: str) -> Recorded:
    """The recording called `name`."""
    call = json.loads((_FOLDER / f"{name}.json").read_text())
    asked = call["request"]
    return Recorded(
        method=asked["method"],
        path=asked["path"],
        request=asked["json"],
        status=call["status"],
        response=call["response"],
    )


def missing(expected: object, actual: object, path: str = "$") -> list[str]:
    """Places of `expected` that `actual` lacks or fills with another kind of JSON; null stands for any kind."""
    match expected, actual:
        case dict(), dict():
            found = [f"{path}.{key}" for key in expected if key not in actual]
            shared = [key for key in expected if key in actual and key not in _OPAQUE]
            return found + [place for key in shared for place in missing(expected[key], actual[key], f"{path}.{key}")]
        case list(), list():
            return missing(expected[0], actual[0], f"{path}[0]") if expected and actual else []
        case (None, _) | (_, None):
            return []
        case _:
            return [] if _kind(expected) == _kind(actual) else [f"{path}: {_kind(expected)}, not {_kind(actual)}"]


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__
