"""What it took each allocator to reach the targets, and how many times less than GRPO.

Owns: crossings by allocator and seed, and paired ratios with their intervals. Pure. Invariants: ratios are of runs with
the same seed; where a run did not reach its target the ratio is a bound and has no interval.

A ratio is GRPO's spend over the allocator's: above 1, the allocator needed less. Over seeds it is the geometric mean,
and its 95 % interval is Student's on the logarithms of the paired ratios.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, log, sqrt
from statistics import fmean, stdev

from benchmarks.target.curves import Axis, Crossing, crossing, curve_of, smoothed
from benchmarks.target.record import Record
from benchmarks.target.settings import BASELINE
from benchmarks.target.targets import Targets
from scheduler.core.student import student


class Bound(StrEnum):
    """How a number is to be read."""

    EXACT = "exact"
    """As it is."""
    ABOVE = "above"
    """At least as large."""
    BELOW = "below"
    """At most as large."""
    NONE = "none"
    """Neither GRPO nor the allocator reached the target on some seed, or each alone on different ones: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What an allocator spent until a target: the mean over seeds."""

    mean: float
    """A run that did not reach the target counts with all it spent."""
    bound: Bound
    num_reached: int
    num_seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """GRPO's spend over the allocator's, paired by seed."""

    estimate: float
    bound: Bound
    low: float | None
    """None where some value is censored, or there is one pair only."""
    high: float | None
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One allocator, one target, one axis."""

    name: str
    target: str
    """Share of GRPO's gain, in per cent."""
    axis: Axis
    spend: Spend
    ratio: Ratio | None
    """None for GRPO itself, and where no seed is in common."""


def cells(records: Sequence[Record], baseline: Sequence[Record], targets: Targets) -> list[Cell]:
    """Every allocator of `records`, in their order, at every target and on every axis."""
    names = list(dict.fromkeys(record.header.name for record in records))
    return [
        _cell(name, target, axis, _of(records, name, axis, accuracy), _of(baseline, BASELINE, axis, accuracy))
        for name in names
        for target, accuracy in targets.accuracy.items()
        for axis in Axis
    ]


def spend_of(crossings: Sequence[Crossing]) -> Spend:
    """The mean of crossings; a bound where one is censored."""
    num_reached = sum(not found.censored for found in crossings)
    return Spend(
        mean=fmean(found.spent for found in crossings),
        bound=Bound.EXACT if num_reached == len(crossings) else Bound.ABOVE,
        num_reached=num_reached,
        num_seeds=len(crossings),
    )


def ratio_of(pairs: Sequence[tuple[Crossing, Crossing]]) -> Ratio | None:
    """GRPO's crossing over the allocator's, for pairs of both; None without a pair."""
    usable = [(base, other) for base, other in pairs if base.spent > 0 and other.spent > 0]
    if not usable:
        return None
    logs = [log(base.spent / other.spent) for base, other in usable]
    bound = _bound(usable)
    margin = None
    if bound is Bound.EXACT and len(logs) > 1:
        margin = student(len(logs) - 1) * stdev(logs) / sqrt(len(logs))
    return Ratio(
        estimate=exp(fmean(logs)),
        bound=bound,
        low=None if margin is None else exp(fmean(logs) - margin),
        high=None if margin is None else exp(fmean(logs) + margin),
        num_pairs=len(logs),
    )


def _bound(pairs: Sequence[tuple[Crossing, Crossing]]) -> Bound:
    base_censored = any(base.censored for base, _ in pairs)
    other_censored = any(other.censored for _, other in pairs)
    if base_censored and other_censored:
        return Bound.NONE
    if base_censored:
        return Bound.ABOVE
    return Bound.BELOW if other_censored else Bound.EXACT


def _cell(name: str, target: str, axis: Axis, found: Mapping[int, Crossing], baseline: Mapping[int, Crossing]) -> Cell:
    pairs = [(baseline[seed], found[seed]) for seed in found if seed in baseline]
    return Cell(
        name=name,
        target=target,
        axis=axis,
        spend=spend_of(list(found.values())),
        ratio=None if name == BASELINE else ratio_of(pairs),
    )


def _of(records: Sequence[Record], name: str, axis: Axis, accuracy: float) -> dict[int, Crossing]:
    """Crossings of an allocator by seed."""
    return {
        record.header.seed: crossing(smoothed(curve_of(record, axis)), accuracy)
        for record in records
        if record.header.name == name
    }
