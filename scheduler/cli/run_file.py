"""A run as a file: TOML, YAML or JSON with the fields of POST /v1/runs.

Owns: reading one, and what `--set` puts over it. Never fills in a default and never checks a field: the API does both.
"""

import json
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

Fields = dict[str, object]

FILE, SET = "FILE", "--set"
STDIN = "-"


def read(path: Path) -> Fields:
    """The fields in a file, by its suffix, or in YAML or JSON on stdin where it is `-`.

    Raises BadParameter for one that cannot be read, with the line and column of what is wrong in it.
    """
    of_stdin = str(path) == STDIN
    reader = _yaml if of_stdin else _READERS.get(path.suffix.lower())
    if reader is None:
        raise typer.BadParameter(
            f"{path} is none of {', '.join(_READERS)}: its name says what is in it", param_hint=FILE
        )
    try:
        text = sys.stdin.read() if of_stdin else path.read_text()
    except OSError as exc:
        raise typer.BadParameter(f"{path} cannot be read: {exc.strerror}", param_hint=FILE) from exc
    try:
        fields = reader(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{path}: {exc}", param_hint=FILE) from exc
    if not isinstance(fields, dict):
        raise typer.BadParameter(f"{path} has no fields of a run: pool, sampling, budget, …", param_hint=FILE)
    return fields


def settings(given: Iterable[str]) -> Fields:
    """`a.b=c` options by their places; a value is JSON, or else the text that it is.

    Raises BadParameter for any other form.
    """
    return dict(_setting(pair) for pair in given)


def _setting(pair: str) -> tuple[str, object]:
    place, equals, value = pair.partition("=")
    if not equals or not all(place.split(".")):
        raise typer.BadParameter(f"{pair!r} is not FIELD=VALUE, as in budget.rollouts=2000", param_hint=SET)
    try:
        return place, json.loads(value)
    except ValueError:
        return place, value


def _yaml(text: str) -> object:
    # Imported here: no other command pays for it.
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise ValueError(f"{exc.problem}{where}") from exc
    except yaml.YAMLError as exc:
        # Of a character that YAML does not allow; it says which and where.
        raise ValueError(" ".join(str(exc).split())) from exc


_READERS: dict[str, Callable[[str], object]] = {
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": json.loads,
}
