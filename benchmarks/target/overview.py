"""What each run reached, in a line: for choosing settings, and for a look in between.

Owns: the line and its table. Pure. Invariant: every number is of the record; nothing is compared here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich import box
from rich.table import Table

from benchmarks.target.record import Record, Version

_NUMBERS = ("before", "last 3", "best", "steps", "rollouts", "minutes", "s/step", "mixed", "norm", "clip", "cos")
_LAST = 3
"""Evaluations that the last accuracy is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One run, summed up."""

    comparison: str
    name: str
    seed: int
    state: str
    first_accuracy: float
    last_accuracy: float
    """Mean of the last three evaluations."""
    best_accuracy: float
    steps: int
    rollouts: int
    tokens: int
    minutes: float
    """Since the first claim, evaluations included."""
    evaluation_minutes: float
    step_s: float
    """Seconds per step, evaluations left out."""
    mixed_groups: float
    """Mean per step."""
    grad_norm: float
    clipped_rate: float
    """Share of optimiser updates whose gradient was clipped."""
    half_batch_cosine: float | None
    """Mean over the steps that have one."""


def reached(record: Record) -> Reached:
    """The line of a record."""
    accuracies = [evaluation.accuracy for evaluation in record.evaluations] or [0.0]
    steps = [version for version in record.versions if version.stats]
    last = record.versions[-1] if record.versions else None
    evaluation_s = last.evaluation_s if last else 0.0
    return Reached(
        comparison=record.header.comparison,
        name=record.header.name,
        seed=record.header.seed,
        state=record.end.state,
        first_accuracy=accuracies[0],
        last_accuracy=fmean(accuracies[-_LAST:]),
        best_accuracy=max(accuracies),
        steps=len(steps),
        rollouts=last.spent_rollouts if last else 0,
        tokens=last.spent_tokens if last else 0,
        minutes=record.end.elapsed_s / 60,
        evaluation_minutes=evaluation_s / 60,
        step_s=(last.elapsed_s - evaluation_s) / len(steps) if last and steps else 0.0,
        mixed_groups=mean_of(steps, "num_mixed_groups") or 0.0,
        grad_norm=mean_of(steps, "grad_norm") or 0.0,
        clipped_rate=_ratio(steps, "num_clipped_updates", "num_updates"),
        half_batch_cosine=mean_of(steps, "half_batch_cosine"),
    )


def mean_of(steps: Sequence[Version], name: str) -> float | None:
    """Mean of a number that the learner measured, over the steps that have it."""
    found = [step.stats[name] for step in steps if name in step.stats]
    return fmean(found) if found else None


def _ratio(steps: Sequence[Version], part: str, whole: str) -> float:
    total = sum(step.stats.get(whole, 0.0) for step in steps)
    return sum(step.stats.get(part, 0.0) for step in steps) / total if total else 0.0


def overview(lines: Sequence[Reached]) -> Table:
    """The lines as a table."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", "seed"):
        table.add_column(heading)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(*_cells(line))
    return table


def _cells(line: Reached) -> tuple[str, ...]:
    return (
        line.name,
        str(line.seed),
        f"{line.first_accuracy:.4f}",
        f"{line.last_accuracy:.4f}",
        f"{line.best_accuracy:.4f}",
        str(line.steps),
        f"{line.rollouts:,}",
        f"{line.minutes:.1f}",
        f"{line.step_s:.1f}",
        f"{line.mixed_groups:.2f}",
        f"{line.grad_norm:.1f}",
        f"{line.clipped_rate:.2f}",
        "\N{EN DASH}" if line.half_batch_cosine is None else f"{line.half_batch_cosine:.2f}",
    )
