"""Curves of held-out accuracy against what was spent, smoothed, and where they cross a target.

Owns: the curve of a record, its smoothing, the mean over seeds, and crossing. Pure. Invariant: nothing is extrapolated:
a target that a curve does not reach is censored at the curve's end.

Smoothing is a centred mean over three evaluations; the first evaluation, of the policy before training and free of
sampling noise, stays as it is, and the last is the mean of the last two. It is the same for every allocator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

import numpy as np

from benchmarks.target.record import Record, Version
from scheduler.core.comparison import place_of
from scheduler.core.errors import InvalidInput

GRID_POINTS = 200


class Axis(StrEnum):
    """What accuracy is plotted against."""

    ROLLOUTS = "rollouts"
    """Pilots and commits spent, whatever became of them."""
    TOKENS = "tokens"
    """Generated tokens of them."""
    SECONDS = "seconds"
    """Since the first claim, without the time that evaluations took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Accuracy against spend: points in order of spend."""

    spent: tuple[float, ...]
    accuracy: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.spent) != len(self.accuracy) or not self.spent:
            raise InvalidInput(f"{len(self.spent)} and {len(self.accuracy)} points make no curve")

    @property
    def end(self) -> float:
        """What was spent at its last point."""
        return self.spent[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """What was spent when a target was reached."""

    spent: float
    censored: bool = False
    """The target was not reached: more than `spent` is needed."""


def curve_of(record: Record, axis: Axis) -> Curve:
    """The measured points of a record; raises InvalidInput where nothing was measured."""
    by_version = {version.version: version for version in record.versions}
    points = {
        evaluation.version: (_spent(by_version[evaluation.version], axis), evaluation.accuracy)
        for evaluation in record.evaluations
        if evaluation.version in by_version
    }
    ordered = [points[version] for version in sorted(points)]
    # What was spent before the first step bought nothing yet: the curve begins at nothing spent.
    spent = [0.0, *(spend for spend, _ in ordered[1:])]
    return Curve(spent=tuple(spent[: len(ordered)]), accuracy=tuple(accuracy for _, accuracy in ordered))


def smoothed(curve: Curve) -> Curve:
    """The centred mean over three evaluations."""
    values = curve.accuracy
    inner = [fmean(values[max(0, place - 1) : place + 2]) for place in range(1, len(values))]
    return Curve(spent=curve.spent, accuracy=(values[0], *inner))


def crossing(curve: Curve, target: float) -> Crossing:
    """Where the curve first reaches the target, by linear interpolation."""
    found = place_of(curve.accuracy, target)
    if found is None:
        return Crossing(spent=curve.end, censored=True)
    place, share = found
    spent = curve.spent[place]
    return Crossing(spent=spent + share * (curve.spent[place + 1] - spent) if share else spent)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over seeds, on an even grid as far as the shortest curve reaches."""
    if not curves:
        raise InvalidInput("there is no curve to take the mean of")
    grid = np.linspace(0.0, min(curve.end for curve in curves), GRID_POINTS)
    means = np.mean([np.interp(grid, curve.spent, curve.accuracy) for curve in curves], axis=0)
    return Curve(spent=tuple(map(float, grid)), accuracy=tuple(map(float, means)))


def _spent(version: Version, axis: Axis) -> float:
    match axis:
        case Axis.ROLLOUTS:
            return float(version.spent_rollouts)
        case Axis.TOKENS:
            return float(version.spent_tokens)
        case Axis.SECONDS:
            return version.elapsed_s - version.evaluation_s
