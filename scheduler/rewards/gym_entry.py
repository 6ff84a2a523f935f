"""A task of reasoning-gym inside a prompt: what its scorer needs.

Owns: both ends of it, the metadata of a prompt. Never imports the package. Invariant: the scorer gets an entry equal to
the one that the task made: tuples, sets and keys that are no text, which JSON lacks, come back as what they were.
"""

import math
from collections.abc import Mapping
from typing import cast

import msgspec

from scheduler.core.errors import InvalidInput
from scheduler.core.unreadable import UNREADABLE

KEY = "reasoning_gym"
"""Of the prompt's metadata."""
SOURCE = "reasoning-gym:"
_MARK = "\N{SECTION SIGN}"
"""Names what JSON does not have: {"§": "tuple", "of": […]}."""
_SEQUENCES = {"tuple": tuple, "set": set, "frozenset": frozenset}


class GymEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, and the task that made it."""

    task: str
    settings: dict[str, str]
    """How the task was set up: some scorers look at it."""
    entry: object
    """Question, answer and metadata, written by `write`."""

    def thawed(self) -> dict[str, object]:
        """The entry as the task made it."""
        return cast(dict[str, object], _thawed(self.entry))


def write(task: str, settings: Mapping[str, str], entry: Mapping[str, object]) -> str:
    """The entry as metadata; raises InvalidInput where something in it cannot be written down."""
    made = GymEntry(task=task, settings=dict(settings), entry=_frozen(entry))
    try:
        return msgspec.json.encode(made, enc_hook=_plain).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise InvalidInput(f"an entry of {task} cannot be written down: {exc}", field=KEY) from exc


def read(metadata: Mapping[str, object]) -> GymEntry:
    """The entry of a prompt; raises InvalidInput for a prompt that has none."""
    written = metadata.get(KEY)
    if not isinstance(written, str):
        raise InvalidInput(
            f"a reasoning_gym reward judges prompts of {SOURCE}TASK: the metadata has no {KEY}", field="metadata"
        )
    try:
        return msgspec.json.decode(written, type=GymEntry)
    except UNREADABLE as exc:
        raise InvalidInput(f"{KEY} in the metadata is not what {SOURCE}TASK wrote: {exc}", field="metadata") from exc


def _frozen(value: object) -> object:
    match value:
        case Mapping():
            if all(isinstance(key, str) for key in value) and _MARK not in value:
                return {key: _frozen(inner) for key, inner in value.items()}
            return {_MARK: "dict", "of": [[_frozen(key), _frozen(inner)] for key, inner in value.items()]}
        case list():
            return [_frozen(inner) for inner in value]
        case tuple() | set() | frozenset():
            kind = next(name for name, sequence in _SEQUENCES.items() if isinstance(value, sequence))
            return {_MARK: kind, "of": [_frozen(inner) for inner in value]}
        case float() if not math.isfinite(value):
            # It would be written as null, without a word.
            return {_MARK: "float", "of": str(value)}
        case _:
            return value


def _thawed(value: object) -> object:
    match value:
        case {"\N{SECTION SIGN}": "dict", "of": list(pairs)}:
            return {_thawed(key): _thawed(inner) for key, inner in pairs}
        case {"\N{SECTION SIGN}": str(kind), "of": list(inner)} if kind in _SEQUENCES:
            return _SEQUENCES[kind](_thawed(each) for each in inner)
        case {"\N{SECTION SIGN}": "float", "of": str(written)}:
            return float(written)
        case dict():
            return {key: _thawed(inner) for key, inner in value.items()}
        case list():
            return [_thawed(inner) for inner in value]
        case _:
            return value


def _plain(value: object) -> object:
    """A number of numpy as what it holds, without importing numpy."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
