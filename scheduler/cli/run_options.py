"""What `run create` sends: a file's fields with the options' over them.

Owns: the shape of the request. Never fills in a default: what nobody gave is left to the API, which documents it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import cast

from scheduler.core.errors import InvalidInput

Fields = dict[str, object]


def merged(base: Mapping[str, object], options: Mapping[str, object]) -> Fields:
    """`base` with every option that was given (is not None) at its dotted place.

    Raises InvalidInput where a place lies within something that is not an object.
    """
    request = cast(Fields, json.loads(json.dumps(base)))
    for path, value in options.items():
        if value is not None:
            _put(request, path, value)
    return request


def _put(request: Fields, path: str, value: object) -> None:
    *folders, name = path.split(".")
    place = request
    for folder in folders:
        inner = place.setdefault(folder, {})
        if not isinstance(inner, dict):
            raise InvalidInput(f"{folder} is {inner!r}, where an object is needed", field=path)
        place = inner
    place[name] = value


def read_fields(text: str) -> Fields:
    """The fields of a configuration file; raises InvalidInput unless it is one JSON object."""
    try:
        fields = json.loads(text)
    except ValueError as exc:
        raise InvalidInput(f"not JSON: {exc}", field="--config") from exc
    if not isinstance(fields, dict):
        raise InvalidInput("one JSON object with the fields of a run is needed", field="--config")
    return fields


def parameters(given: Iterable[str]) -> Fields:
    """NAME=NUMBER options as the allocator's parameters at their places; `null` is none."""
    return {f"parameters.{name}": number for name, number in (_parameter(pair) for pair in given)}


def _parameter(pair: str) -> tuple[str, object]:
    name, equals, value = pair.partition("=")
    try:
        number = json.loads(value)
    except ValueError as exc:
        raise InvalidInput(f"{pair!r} is not NAME=NUMBER", field="--parameter") from exc
    if not name or not equals:
        raise InvalidInput(f"{pair!r} is not NAME=NUMBER", field="--parameter")
    return name, number
