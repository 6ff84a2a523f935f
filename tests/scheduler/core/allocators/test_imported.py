"""An allocator of the user's own, by its import path."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.core.allocators.grpo import Grpo
from scheduler.core.allocators.imported import build_imported
from scheduler.core.allocators.interface import Allocator
from scheduler.core.errors import InvalidInput

Build = Callable[..., Allocator]

MODULE = """
from scheduler.core.allocators.grpo import Grpo
from scheduler.core.allocators.rule import Rule
from scheduler.core.errors import InvalidInput

number = 7

def whole(pilots, commits):
    return Grpo(group_size=pilots + commits)

def factor(*, pilots: int, commits: int, factor: "int | None" = 1, anything="x", **more: float):
    return Grpo(group_size=(pilots + commits) * (factor or 1))

def demanding(*, pilots: int, commits: int, must: int):
    return Grpo(group_size=must)

def unsized(group_size: int = 8):
    return Grpo(group_size=group_size)

def picky(*, pilots: int, commits: int):
    raise InvalidInput("more pilots", field="pilots")

def broken(*, pilots: int, commits: int):
    raise ZeroDivisionError("by zero")

def nothing(*, pilots: int, commits: int):
    return None

def unreadable(*, pilots: int, commits: int, p: "Unknown" = 1):
    return None

class Half(Rule):
    def __init__(self, *, pilots: int, commits: int) -> None:
        self.name = "half"

class Lonely(Half):
    largest_group = 1
    def decide(self, evidence, rollouts):
        raise NotImplementedError

class Scope:
    Whole = staticmethod(whole)
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds by a name of the module above."""
    (tmp_path / "someones_rules.py").write_text(MODULE)
    (tmp_path / "broken_rules.py").write_text("import no_such_package")
    (tmp_path / "unfinished_rules.py").write_text("class")
    monkeypatch.syspath_prepend(tmp_path)

    def by_path(path: str, **parameters: float | int | None) -> Allocator:
        return build_imported(path, pilots=4, commits=12, parameters=parameters)

    return by_path


@pytest.mark.parametrize("name", ["whole", "factor", "Scope.Whole"])
def test_a_class_or_function_is_called_with_the_sizes_of_the_run(build: Build, name: str) -> None:
    assert build(f"someones_rules:{name}") == Grpo(group_size=16)


def test_parameters_are_passed_on_though_their_types_are_written_as_text(build: Build) -> None:
    assert build("someones_rules:factor", factor=2) == Grpo(group_size=32)
    assert build("someones_rules:factor", factor=None) == Grpo(group_size=16)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (":Rule", "package.module:Name"),
        ("someones_rules:", "package.module:Name"),
        ("no_such_module:Rule", "'no_such_module' cannot be imported"),
        ("broken_rules:Rule", "no_such_package"),
        ("unfinished_rules:Rule", "SyntaxError"),
        ("someones_rules:Missing", "has no 'Missing'"),
        ("someones_rules:Scope.Missing", "has no 'Scope.Missing'"),
        ("someones_rules:number", "is a int: name a class"),
        ("someones_rules:unsized", "must accept pilots=, commits="),
        ("someones_rules:demanding", "missing a required argument: 'must'"),
        ("someones_rules:broken", "ZeroDivisionError"),
        ("someones_rules:unreadable", "cannot be read"),
        (
            "someones_rules:nothing",
            "name, largest_group, round_batches, discards_surplus, adapts_early, foresees, rank, decide",
        ),
        ("someones_rules:Half", "largest_group, decide missing"),
        ("someones_rules:Lonely", "at least 2 rollouts"),
    ],
)
def test_a_path_that_leads_to_no_allocator_is_answered_with_what_would_be_right(
    build: Build, path: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        build(path)
    assert caught.value.field == "allocator"
    assert says in str(caught.value)


def test_what_the_rule_itself_refuses_it_may_say_in_its_own_words(build: Build) -> None:
    with pytest.raises(InvalidInput, match="more pilots") as caught:
        build("someones_rules:picky")
    assert caught.value.field == "pilots"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"factor": 1.5}, "a whole number or null for factor, not 1.5"),
        ({"anything": 1}, "declares it as float"),
        ({"more": 1}, "no parameter 'more'; its parameters: factor, anything"),
        ({"pilots": 1}, "no parameter 'pilots'"),
    ],
)
def test_parameters_are_checked_as_those_of_the_shipped_rules(
    build: Build, parameters: dict[str, float], says: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(says)) as caught:
        build_imported("someones_rules:factor", pilots=4, commits=12, parameters=parameters)
    (name,) = parameters
    assert caught.value.field == f"parameters.{name}"
