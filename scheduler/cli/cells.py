"""What stands in a column of a row.

Owns: finding it, by dots where columns lie within columns, and reading it as text or as a list. Pure. Invariant: a cell
that is not there, has no value or one of the wrong kind is an error that names its column, and never an empty text.
"""

import json
import math
from collections.abc import Iterable, Mapping

import msgspec

from scheduler.core.errors import InvalidInput
from scheduler.core.unreadable import UNREADABLE

Row = Mapping[str, object]
_MOST_NAMES = 30


def in_a_line(names: Iterable[str]) -> str:
    """Names of columns, as an error lists them."""
    found = list(names)
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return f"{', '.join(found[:_MOST_NAMES])}{more}" if found else "none"


def root(column: str, columns: Iterable[str]) -> str:
    """The column of a source that `column` lies in: itself, where there is one of that very name."""
    return column if column in columns else column.partition(".")[0]


def find(row: Row, column: str) -> object:
    """What stands there, None for no value; raises InvalidInput where there is no such column."""
    if column in row:
        return _value(row[column])
    place: object = row
    walked: list[str] = []
    for name in column.split("."):
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            raise InvalidInput(f"no column {column!r}: {_what_is_there(place, walked)}", field=column)
        walked.append(name)
    return _value(place)


def text(row: Row, column: str) -> str:
    """What stands there as text; raises InvalidInput for no value, an object or a list."""
    value = _given(row, column)
    if isinstance(value, Mapping):
        inside = in_a_line(map(str, value))
        raise InvalidInput(
            f"column {column!r} is an object, with {inside}: name one, as in {column}.NAME", field=column
        )
    if isinstance(value, list):
        raise InvalidInput(f"column {column!r} is a list: name one of it, as in {column}.0", field=column)
    return _written(value)


def note(row: Row, column: str) -> str | None:
    """What stands there as text, an object or a list as JSON; None for no value."""
    value = find(row, column)
    return None if value is None else _written(value)


def items(row: Row, column: str) -> list[object]:
    """A list, or one as JSON text, as tables of text have it; raises InvalidInput for anything else."""
    value = _given(row, column)
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except UNREADABLE:
            value = None
    if not isinstance(value, list):
        raise InvalidInput(f"column {column!r} is not a list", field=column)
    return value


def _given(row: Row, column: str) -> object:
    value = find(row, column)
    if value is None:
        raise InvalidInput(f"column {column!r} has no value", field=column)
    return value


def _value(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        # What tables of numbers say for no value.
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _written(value: object) -> str:
    if isinstance(value, bool | int | float | list | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _what_is_there(place: object, walked: list[str]) -> str:
    where = repr(".".join(walked)) if walked else "there are"
    if isinstance(place, Mapping):
        return f"{where}{' has' if walked else ''} {in_a_line(map(str, place))}"
    if isinstance(place, list):
        return f"{where} is a list of {len(place)}"
    return f"{where} has no columns in it"
