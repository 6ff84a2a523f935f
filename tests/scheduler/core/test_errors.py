"""The error tree."""

import re

from scheduler.core import errors
from scheduler.core.errors import Conflict, InvalidInput, NotFound, PilotCommitError


def drawn_tree() -> dict[str, str]:
    """Parent by class name, as the module's docstring draws it."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^([│├└─ ]*)([A-Z]\w+)(?: {2,}|$)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        path = [*path[:depth], match[2]]
        if depth:
            parents[match[2]] = path[-2]
    return parents


def test_the_drawn_tree_is_the_class_hierarchy() -> None:
    actual = {
        name: member.__base__.__name__
        for name, member in vars(errors).items()
        if isinstance(member, type) and member is not PilotCommitError and member.__base__ is not None
    }
    assert drawn_tree() == actual


def test_every_error_says_when_it_is_raised() -> None:
    classes = [member for member in vars(errors).values() if isinstance(member, type)]
    assert all(member.__doc__ for member in classes)


def test_invalid_input_names_the_field_and_keeps_its_message() -> None:
    error = InvalidInput("at least 1", field="budget.rollouts")
    assert (str(error), error.field) == ("at least 1", "budget.rollouts")


def test_invalid_input_may_have_no_field() -> None:
    assert InvalidInput("nonsense").field is None


def test_what_does_not_exist_or_conflicts_is_the_callers_to_repair() -> None:
    assert NotFound("no run r1", field="run").field == "run"
    assert isinstance(Conflict("run r1 has ended"), InvalidInput)
