"""What a benchmark found: figures beside their targets, with everything that is needed to make them again.

Owns: the report, its file and its table. Never measures. Invariants: a figure that has no target claims none; a report
names the command, the commit, the versions and the machine that made it.
"""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.origin import RESULTS, origin
from scheduler.core.errors import NotFound

_DASH = "\N{EN DASH}"


class Sense(StrEnum):
    """Which way a figure is better."""

    AT_LEAST = "at_least"
    """Reached where it is no smaller than the target."""
    AT_MOST = "at_most"
    """Reached where it is no larger."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number."""

    what: str
    value: float
    unit: str = ""
    """Empty for a ratio."""
    target: float | None = None
    """None: it is reported, and nothing is claimed."""
    sense: Sense = Sense.AT_LEAST
    note: str = ""
    """The peer or the limit it was measured beside, and the spread."""

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.sense is Sense.AT_LEAST else self.value <= self.target


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one benchmark found."""

    name: str
    figures: tuple[Figure, ...]
    raw: dict[str, list[float]]
    """Samples behind the figures, by what they are of."""
    command: str
    commit: str
    versions: dict[str, str]
    cores: int
    made_at: str
    seconds: float
    """Of the whole benchmark."""

    @classmethod
    def of(cls, name: str, figures: list[Figure], raw: dict[str, list[float]], *, seconds: float) -> Self:
        """A report made by this process."""
        made = origin(f"benchmarks.{name}")
        return cls(
            name=name,
            figures=tuple(figures),
            raw=raw,
            command=made.command,
            commit=made.commit,
            versions=made.versions,
            cores=made.cores,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 1),
        )

    def write(self, results: Path = RESULTS) -> Path:
        """Keep it in place of the one before; returns the file."""
        path = path_of(self.name, results)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return path

    def markdown(self) -> str:
        """A table of the figures, and a line that says where they are from."""
        rows = [_row(figure) for figure in self.figures]
        table = "\n".join("| " + " | ".join(row) + " |" for row in (_HEADS, _RULE, *rows))
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{table}\n\n`{self.command}`, commit `{self.commit[:10]}`, {self.cores} cores, {versions}.\n"


def path_of(name: str, results: Path = RESULTS) -> Path:
    """The file of a benchmark's newest report."""
    return results / name / f"{name}.json"


def read(name: str, results: Path = RESULTS) -> Report:
    """The newest report of a benchmark; raises NotFound if it was never run."""
    path = path_of(name, results)
    if not path.is_file():
        raise NotFound(f"there is no report of the benchmark {name}: run `python -m benchmarks.{name}`")
    return msgspec.json.decode(path.read_bytes(), type=Report)


_HEADS = ("what", "measured", "target", "", "beside")
_RULE = ("---", "---:", "---:", "---", "---")


def _row(figure: Figure) -> tuple[str, ...]:
    sign = "\N{GREATER-THAN OR EQUAL TO}" if figure.sense is Sense.AT_LEAST else "\N{LESS-THAN OR EQUAL TO}"
    target = _DASH if figure.target is None else f"{sign} {_number(figure.target, figure.unit)}"
    verdict = {None: "", True: "reached", False: "**missed**"}[figure.is_reached]
    return figure.what, _number(figure.value, figure.unit), target, verdict, figure.note


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
