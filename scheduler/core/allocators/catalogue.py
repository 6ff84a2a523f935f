"""The allocators a run can name.

Owns: their names, and building one from a run's pilots, commits and parameters. Never decides anything. Adding a rule
touches its own module and this one.
"""

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from scheduler.core.allocators.grpo import Grpo
from scheduler.core.allocators.interface import Allocator
from scheduler.core.allocators.pilot_commit import PilotCommit
from scheduler.core.errors import InvalidInput


class AllocatorName(StrEnum):
    """A rule that ships with the service."""

    GRPO = "grpo"
    """Uniform GRPO: a whole group for every prompt."""
    PILOT_COMMIT = "pilot_commit"
    """Pilot-Commit as released, with timed instead of permanent eviction."""


def _grpo(*, pilots: int, commits: int) -> Grpo:
    """The uniform group that spends per trained prompt what pilots and commits together would."""
    return Grpo(group_size=pilots + commits)


_BUILDERS: Mapping[AllocatorName, Callable[..., Allocator]] = MappingProxyType(
    {AllocatorName.GRPO: _grpo, AllocatorName.PILOT_COMMIT: PilotCommit}
)
_SIZES = ("pilots", "commits")
# What a declared parameter type accepts from JSON, and how to ask for it.
_ACCEPTED: Mapping[object, tuple[str, tuple[type, ...]]] = MappingProxyType(
    {
        float: ("a number", (float, int)),
        int: ("a whole number", (int,)),
        int | None: ("a whole number or null", (int, type(None))),
    }
)


def build_allocator(name: str, *, pilots: int, commits: int, parameters: Mapping[str, float | int | None]) -> Allocator:
    """The named allocator; parameters left out take the rule's defaults.

    Raises InvalidInput, saying what would be right, for an unknown name, an unknown parameter, a value of the wrong
    type, or values that the rule itself refuses.
    """
    build = _BUILDERS[_known(name)]
    declared = {
        parameter.name: parameter.annotation
        for parameter in inspect.signature(build).parameters.values()
        if parameter.name not in _SIZES
    }
    for parameter, value in parameters.items():
        _check(name, parameter, value, declared)
    return build(pilots=pilots, commits=commits, **parameters)


def _known(name: str) -> AllocatorName:
    try:
        return AllocatorName(name)
    except ValueError as exc:
        raise InvalidInput(
            f"there is no allocator {name!r}; there are {', '.join(AllocatorName)}", field="allocator"
        ) from exc


def _check(name: str, parameter: str, value: float | int | None, declared: Mapping[str, object]) -> None:
    field = f"parameters.{parameter}"
    if parameter not in declared:
        takes = ", ".join(declared) or "none"
        raise InvalidInput(f"{name} has no parameter {parameter!r}; its parameters: {takes}", field=field)
    words, types = _ACCEPTED[declared[parameter]]
    if isinstance(value, bool) or not isinstance(value, types):
        raise InvalidInput(f"{name} needs {words} for {parameter}, not {value!r}", field=field)
