"""Runs beside each other, as a table.

Owns: which facts are shown, in what order and words. Pure.
"""

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from scheduler.cli import words
from scheduler.cli.comparison import ComparedRun, Comparison
from scheduler.cli.tables import Cell, grid
from scheduler.core.comparison import Spent

_NEVER = "not reached"


def comparison(found: Comparison, price: float | None) -> RenderableType:
    """A column for each run; `price` is of a GPU-hour."""
    table = grid(("", *(f">{run.run_id}" for run in found.runs)), _rows(found, price), empty="")
    return Group(table, Text(_note(found), style="dim"))


def _rows(found: Comparison, price: float | None) -> Iterator[tuple[Cell, ...]]:
    yield _row(found, "allocator", lambda run: run.allocator)
    yield _row(found, "state", lambda run: words.spaced(run.state))
    yield _row(found, "steps", lambda run: f"{run.steps:,}")
    yield _row(found, "rollouts spent", lambda run: f"{run.spent.rollouts:,.0f}")
    yield _row(found, "tokens spent", lambda run: f"{run.spent.tokens:,.0f}")
    yield _row(found, "time", lambda run: words.duration(run.spent.seconds))
    yield _row(found, "skip rate", lambda run: words.rate(run.skip_rate))
    yield _row(found, "accuracy first, best, last", _accuracies)
    if found.accuracy is None:
        return
    to = f"to {words.accuracy(found.accuracy)}"
    yield _row(found, f"rollouts {to}", lambda run: _needed(found, run, lambda spent: spent.rollouts))
    yield _row(found, f"tokens {to}", lambda run: _needed(found, run, lambda spent: spent.tokens))
    yield _row(found, f"time {to}", lambda run: _of(run.at_accuracy, lambda spent: words.duration(spent.seconds)))
    if any(run.gpu_hours is not None for run in found.runs):
        yield _row(found, f"GPU-hours {to}", lambda run: _number(run.gpu_hours))
        yield _row(found, "GPU-hours saved", lambda run: _number(_saved(found, run)))
        if price is not None:
            yield _row(found, "money saved", lambda run: _number(_saved(found, run), price))


def _row(found: Comparison, label: str, of: Callable[[ComparedRun], str]) -> tuple[Cell, ...]:
    return (label, *(of(run) for run in found.runs))


def _accuracies(run: ComparedRun) -> str:
    if not run.points:
        return words.DASH
    values = [point.accuracy for point in run.points]
    return ", ".join(words.accuracy(value) for value in (values[0], max(values), values[-1]))


def _needed(found: Comparison, run: ComparedRun, of: Callable[[Spent], float]) -> str:
    """The number, and how many times fewer than the first run needed."""
    first = found.runs[0]
    if run.at_accuracy is None:
        return _NEVER
    needed = of(run.at_accuracy)
    if run is first or first.at_accuracy is None or not needed:
        return f"{needed:,.0f}"
    return f"{needed:,.0f} ({of(first.at_accuracy) / needed:.2f} times fewer)"


def _of(spent: Spent | None, shown: Callable[[Spent], str]) -> str:
    return _NEVER if spent is None else shown(spent)


def _saved(found: Comparison, run: ComparedRun) -> float | None:
    first = found.runs[0]
    if run is first or run.gpu_hours is None or first.gpu_hours is None:
        return None
    return first.gpu_hours - run.gpu_hours


def _number(value: float | None, times: float = 1.0) -> str:
    if value is None:
        return words.DASH
    # Small runs take thousandths.
    return f"{value * times:,.2f}" if abs(value * times) >= 1.0 else f"{value * times:.3g}"


def _note(found: Comparison) -> str:
    if found.pool is None:
        return f"{found.runs[0].run_id} has no evaluation: what it learnt cannot be compared"
    if found.accuracy is None:
        missing = ", ".join(run.run_id for run in found.runs if not run.points)
        return f"no evaluation on {found.pool} by {found.measure}: {missing}"
    return f"accuracy on {found.pool} by {found.measure}; between two evaluations it is taken to grow evenly"
