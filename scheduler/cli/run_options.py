"""What `run create` sends: a file's fields with `--set` over them, and the options over those.

Owns: the shape of the request. Never fills in a default: what nobody gave is left to the API, which documents it.
"""

import copy
import json
from collections.abc import Iterable, Mapping

import typer

from scheduler.cli.run_file import FILE, SET, Fields

_POOL, _POOLS = "pool", "pools"
"""One of them is given."""
_REQUIRED = {_POOL: "--pool", "sampling.max_new_tokens": "--max-new-tokens"}
"""Fields without a default, and the option that gives each."""


def merged(
    base: Mapping[str, object],
    settings: Mapping[str, object],
    options: Mapping[str, object],
    parameters: Mapping[str, object],
) -> Fields:
    """`base` with every setting and every option that was given (is not None) at its dotted place, and with the
    allocator's parameters.

    Raises BadParameter where a place lies within something that is not an object, and for a field that is missing.
    """
    request = copy.deepcopy(dict(base))
    for path, value in settings.items():
        _put(request, path, value, hint=SET)
    for path, value in options.items():
        if value is not None:
            _put(request, path, value)
    for name, number in parameters.items():
        _put(request, f"parameters.{name}", number)
    for path, option in _REQUIRED.items():
        if path == _POOL and _get(request, _POOLS):
            continue
        if _get(request, path) is None:
            missing = f"it is missing: give it here, or as {path} in {FILE} or with {SET}"
            raise typer.BadParameter(missing, param_hint=option)
    return request


def _put(request: Fields, path: str, value: object, *, hint: str = FILE) -> None:
    *folders, name = path.split(".")
    place = request
    for folder in folders:
        inner = place.setdefault(folder, {})
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"{folder} is {inner!r}, where an object is needed", param_hint=hint)
        place = inner
    place[name] = value


def _get(request: Fields, path: str) -> object:
    place: object = request
    for name in path.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return place


def parameters(given: Iterable[str]) -> Fields:
    """NAME=NUMBER options as the allocator's parameters, null as None; raises BadParameter for any other form."""
    return dict(_parameter(pair) for pair in given)


def _parameter(pair: str) -> tuple[str, object]:
    name, _equals, value = pair.partition("=")
    try:
        number = json.loads(value)
    except ValueError as exc:
        raise typer.BadParameter(f"{pair!r} is not NAME=NUMBER", param_hint="--parameter") from exc
    if not name:
        raise typer.BadParameter(f"{pair!r} is not NAME=NUMBER", param_hint="--parameter")
    return name, number
