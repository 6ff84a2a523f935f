"""What a check found.

Owns: the levels of a finding, and its form as JSON. Pure. Invariant: whatever is not in order says what to do next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.errors import InvalidInput


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    """Nothing to do."""
    WARNING = "warning"
    """It works, or may; somebody should know."""
    PROBLEM = "problem"
    """Something will not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    said: str
    """What was found."""
    todo: str = ""
    """What to do next; never empty unless all is in order."""

    def __post_init__(self) -> None:
        if (self.level is Level.OK) == bool(self.todo):
            raise InvalidInput(f"{self.check}: what is in order needs nothing done, all else does", field="todo")

    def as_json(self) -> Mapping[str, object]:
        """For programs."""
        return {"check": self.check, "level": self.level.value, "said": self.said, "todo": self.todo}


def ok(check: str, said: str) -> Finding:
    """All is in order."""
    return Finding(check=check, level=Level.OK, said=said)


def warning(check: str, said: str, todo: str) -> Finding:
    """Somebody should know."""
    return Finding(check=check, level=Level.WARNING, said=said, todo=todo)


def problem(check: str, said: str, todo: str) -> Finding:
    """Something will not work."""
    return Finding(check=check, level=Level.PROBLEM, said=said, todo=todo)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among findings; OK of none."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
