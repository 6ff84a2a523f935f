"""The results as Markdown and as JSON.

Owns: their layout. Pure. Invariant: a bound is never printed as a value.
"""

from collections.abc import Sequence

import msgspec

from benchmarks.target.analysis import Bound, Cell, Ratio, Spend
from benchmarks.target.curves import Axis
from benchmarks.target.settings import BASELINE
from benchmarks.target.targets import Targets
from scheduler.client import Json

_DASH = "\N{EN DASH}"
_AXES = (Axis.ROLLOUTS, Axis.TOKENS, Axis.SECONDS)


def markdown(cells: Sequence[Cell], targets: Targets, shares: Sequence[str] = ()) -> str:
    """A table for each target, or those named: what was spent until then, and how many times less than GRPO that is."""
    parts = [
        f"**{share} % of GRPO's gain** (held-out accuracy {targets.accuracy[share]:.3f}, from {targets.start:.3f})\n\n"
        + _table([cell for cell in cells if cell.target == share])
        for share in shares or targets.accuracy
    ]
    return "\n\n".join(parts) + "\n"


def as_json(cells: Sequence[Cell], targets: Targets, comparison: str) -> Json:
    """Everything the tables are made of."""
    return {
        "comparison": comparison,
        "targets": msgspec.to_builtins(targets),
        "cells": [msgspec.to_builtins(cell) for cell in cells],
    }


def _table(cells: Sequence[Cell]) -> str:
    heads = ["allocator", "seeds", *(head for axis in _AXES for head in (_NAMES[axis], "GRPO ÷ it"))]
    rows = [_row(name, cells) for name in sorted({cell.name for cell in cells}, key=lambda name: _rank(name, cells))]
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))


_NAMES = {Axis.ROLLOUTS: "rollouts", Axis.TOKENS: "tokens", Axis.SECONDS: "minutes"}


def _rank(name: str, cells: Sequence[Cell]) -> tuple[bool, float, str]:
    """GRPO first, and then whoever needs fewest rollouts of GRPO's; whoever has no ratio last."""
    ratios = [cell.ratio for cell in cells if cell.name == name and cell.axis is Axis.ROLLOUTS]
    return name != BASELINE, -(ratios[0].estimate if ratios and ratios[0] else 0.0), name


def _row(name: str, cells: Sequence[Cell]) -> list[str]:
    by_axis = {cell.axis: cell for cell in cells if cell.name == name}
    spend = by_axis[Axis.ROLLOUTS].spend
    reached = str(spend.num_seeds)
    if spend.num_reached < spend.num_seeds:
        reached = f"{spend.num_reached} of {spend.num_seeds} reached it"
    pairs = [(_spend(by_axis[axis].spend, axis), _ratio(by_axis[axis].ratio)) for axis in _AXES]
    return [f"`{name}`", reached, *(text for pair in pairs for text in pair)]


def _spend(spend: Spend, axis: Axis) -> str:
    sign = "> " if spend.bound is Bound.ABOVE else ""
    return f"{sign}{spend.mean / 60:.1f}" if axis is Axis.SECONDS else f"{sign}{spend.mean:,.0f}"


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None or ratio.bound is Bound.NONE:
        return _DASH
    sign = {Bound.ABOVE: "> ", Bound.BELOW: "< "}.get(ratio.bound, "")
    interval = "" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{sign}{ratio.estimate:.2f}{interval}"
