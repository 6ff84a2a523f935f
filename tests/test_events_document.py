"""Every event that the source logs is in the table of docs/operations.md with its ids, and nothing else is there."""

import ast
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from tests.events_document import ROOT, documented, undocumented

_LEVELS = ("debug", "info", "warning", "error", "exception")
_LOGGERS = ("log", "_log", "logger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One logging call in the source."""

    where: str
    event: str
    """Empty if it is not written out."""
    ids: frozenset[str]
    is_open: bool
    """More ids come with a mapping."""


def calls() -> Iterator[Call]:
    """Every logging call of what is shipped."""
    for package in ("scheduler", "learner", "inference"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(_parsed(path)):
                if _logs(node):
                    yield _call(node, f"{path.relative_to(ROOT)}:{node.lineno}")


def _parsed(path: Path) -> ast.Module:
    """Parsed without a collection of garbage in between.

    What that finalises may have its traceback printed, which parses as well, and Python 3.11 cannot do both at once.
    """
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def _logs(node: ast.AST) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in _LOGGERS
    )


def _call(node: ast.Call, where: str) -> Call:
    match node.args:
        case [ast.Constant(value=str(event))]:
            pass
        case _:
            event = ""
    names = [keyword.arg for keyword in node.keywords]
    return Call(where=where, event=event, ids=frozenset(name for name in names if name), is_open=None in names)


def test_every_event_is_a_name_that_is_written_out() -> None:
    found = list(calls())
    assert len(found) > 50
    assert [call.where for call in found if not call.event] == []


def test_every_event_that_is_logged_is_documented_and_every_one_documented_is_logged() -> None:
    assert {call.event for call in calls()} == set(documented())


def test_every_event_carries_its_ids() -> None:
    table = documented()
    missing = {call.where: table[call.event] - call.ids for call in calls() if not call.is_open}
    assert {where: ids for where, ids in missing.items() if ids} == {}


def test_a_line_without_its_ids_or_of_an_unknown_event_is_found_out() -> None:
    lines = [
        {"event": "claimed", "run": "r", "prompt": "p", "visit": "v"},
        {"event": "claimed", "run": "r", "prompt": "", "visit": "v"},
        {"event": "clamied", "run": "r"},
    ]
    assert undocumented(lines) == ["claimed lacks prompt", "clamied is not documented"]
