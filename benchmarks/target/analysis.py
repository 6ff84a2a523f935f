"""What it took each allocator to reach the targets, and how many times less than GRPO.

Owns: crossings by allocator and seed, and paired ratios with their intervals. Pure. Invariants: ratios are of runs with
the same seed; where a run did not reach its target the ratio is a bound and has no interval.

A ratio is GRPO's spend over the allocator's: above 1, the allocator needed less. Over seeds it is the geometric mean,
and its 95 % interval is Student's on the logarithms of the paired ratios. Two or three seeds say next to nothing of
their own spread: with fewer than four, the interval takes the spread that the allocators show together (the pooled
variance of a one-way layout), with its degrees of freedom.
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

_OWN_SPREAD_FROM = 4
"""Pairs from which an allocator's interval rests on its own spread."""


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
    """None where some value is censored, or there is no spread to be had."""
    high: float | None
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of logarithms of paired ratios."""

    deviation: float
    """Standard deviation."""
    freedom: int
    """Degrees of freedom behind it."""

    def margin(self, num_pairs: int) -> float:
        """Half of the 95 % interval of a mean of so many."""
        return student(self.freedom) * self.deviation / sqrt(num_pairs)


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
    found: list[Cell] = []
    for target, accuracy in targets.accuracy.items():
        for axis in Axis:
            base = _of(baseline, BASELINE, axis, accuracy)
            crossings = {name: _of(records, name, axis, accuracy) for name in names}
            pairs = {name: _paired(base, own) for name, own in crossings.items()}
            spread = pooled([pairs[name] for name in names if name != BASELINE])
            found += [
                Cell(
                    name=name,
                    target=target,
                    axis=axis,
                    spend=spend_of(list(crossings[name].values())),
                    ratio=None if name == BASELINE else ratio_of(pairs[name], spread),
                )
                for name in names
            ]
    return found


def _paired(base: Mapping[int, Crossing], own: Mapping[int, Crossing]) -> list[tuple[Crossing, Crossing]]:
    return [(base[seed], own[seed]) for seed in own if seed in base]


def pooled(layout: Sequence[Sequence[tuple[Crossing, Crossing]]]) -> Spread | None:
    """The spread within allocators, all of them together; None where no two pairs of one are known exactly."""
    squares, freedom = 0.0, 0
    for pairs in layout:
        logs = _logs(pairs)
        if len(logs) > 1 and _bound(pairs) is Bound.EXACT:
            squares += (len(logs) - 1) * stdev(logs) ** 2
            freedom += len(logs) - 1
    return Spread(deviation=sqrt(squares / freedom), freedom=freedom) if freedom else None


def _logs(pairs: Sequence[tuple[Crossing, Crossing]]) -> list[float]:
    return [log(base.spent / other.spent) for base, other in _usable(pairs)]


def _usable(pairs: Sequence[tuple[Crossing, Crossing]]) -> list[tuple[Crossing, Crossing]]:
    return [(base, other) for base, other in pairs if base.spent > 0 and other.spent > 0]


def spend_of(crossings: Sequence[Crossing]) -> Spend:
    """The mean of crossings; a bound where one is censored."""
    num_reached = sum(not found.censored for found in crossings)
    return Spend(
        mean=fmean(found.spent for found in crossings),
        bound=Bound.EXACT if num_reached == len(crossings) else Bound.ABOVE,
        num_reached=num_reached,
        num_seeds=len(crossings),
    )


def ratio_of(pairs: Sequence[tuple[Crossing, Crossing]], spread: Spread | None = None) -> Ratio | None:
    """GRPO's crossing over the allocator's, for pairs of both; None without a pair.

    `spread` is that of all allocators together, for the interval where there are few pairs.
    """
    logs = _logs(pairs)
    if not logs:
        return None
    bound = _bound(_usable(pairs))
    own = Spread(deviation=stdev(logs), freedom=len(logs) - 1) if len(logs) >= _OWN_SPREAD_FROM else spread
    margin = own.margin(len(logs)) if own is not None and bound is Bound.EXACT else None
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


def _of(records: Sequence[Record], name: str, axis: Axis, accuracy: float) -> dict[int, Crossing]:
    """Crossings of an allocator by seed."""
    return {
        record.header.seed: crossing(smoothed(curve_of(record, axis)), accuracy)
        for record in records
        if record.header.name == name
    }
