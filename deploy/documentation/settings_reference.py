"""The reference of settings and of a run's fields: `python -m deploy.documentation.settings_reference`, for
docs/configuration.md.

Owns: what is told of a field, and in which words. Never reads a value. Invariant: every field of the models is told
once, with the docstring that stands under it.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, TypeGuard, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from learner.settings import PREFIX as LEARNER_PREFIX
from learner.settings import Settings as LearnerSettings
from scheduler.api.request import MOST
from scheduler.api.run_requests import NewRun
from scheduler.settings import PREFIX as SCHEDULER_PREFIX
from scheduler.settings import Settings as SchedulerSettings

_HEAD = "| {} | kind | default | meaning |\n|---|---|---|---|\n"
_KINDS = {bool: "true, false", int: "whole number", float: "number", str: "text", Path: "path", SecretStr: "secret"}
_SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def reference() -> dict[str, str]:
    """A table of each kind of field, by the heading that it stands under."""
    return {
        "Scheduler": _table("variable", _variables(SchedulerSettings, SCHEDULER_PREFIX)),
        "Learner": _table("variable", _variables(LearnerSettings, LEARNER_PREFIX)),
        "A run": _table("field", _fields(NewRun, "")),
    }


def _table(first: str, rows: Iterator[tuple[str, ...]]) -> str:
    return _HEAD.format(first) + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _variables(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield _row(f"{prefix}{name.upper()}", field)


def _fields(model: type[BaseModel], place: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        # A part that may be left out as a whole says what that means; any other part is its fields.
        if inner is None or field.default is None:
            yield _row(f"{place}{name}", field)
        if inner is not None:
            yield from _fields(inner, f"{place}{name}.")


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    told = " ".join(cleandoc(field.description or "").split()).replace("|", "\\|")
    return f"`{name}`", _kind(field), _default(field), told


def _kind(field: FieldInfo) -> str:
    words = ", ".join(_named(kind) for kind in _alternatives(field.annotation))
    bounds = ", ".join(_bounds(field))
    return f"{words}, {bounds}" if bounds else words


def _named(kind: object) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    if origin is tuple:
        return "list"
    if origin is dict or _is_model(kind):
        return "object"
    return _KINDS[kind] if isinstance(kind, type) else _named(get_args(kind)[0])


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        for kind, attribute, sign in _SIGNS:
            if isinstance(bound, kind) and abs(limit := getattr(bound, attribute)) < MOST:
                yield f"{sign} {limit}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"`{default:g}`"
    shown = str(default.value if isinstance(default, Enum) else default)
    # What begins or ends with white space would not be seen to.
    return f"`{shown}`" if shown == shown.strip() else f"`{json.dumps(shown)}`"


def _alternatives(annotation: object) -> Sequence[object]:
    """The types that a value may have, without None."""
    if get_origin(annotation) in (Union, UnionType):
        return [kind for kind in get_args(annotation) if kind is not NoneType]
    return [annotation]


def _model(annotation: object) -> type[BaseModel] | None:
    for kind in _alternatives(annotation):
        if _is_model(kind):
            return kind
    return None


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def main() -> int:
    """Print every table under its heading."""
    sys.stdout.write("\n".join(f"## {heading}\n\n{table}" for heading, table in reference().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
