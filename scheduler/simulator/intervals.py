"""How sure we are of a mean over seeds.

Owns: 95 % intervals of paired ratios. Pure. Invariant: a seed is the unit that was drawn; runs on one seed share pool
and order of prompts, so their ratio is taken within the seed, and the interval is Student's over the seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scheduler.core.errors import InvalidInput
from scheduler.core.student import student


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of one value a seed. Raises InvalidInput for fewer than two seeds: they say nothing of their spread."""
    if len(values) < 2:
        raise InvalidInput(f"an interval over seeds needs at least 2 of them, not {len(values)}", field="seeds")
    mean = fmean(values)
    margin = student(len(values) - 1) * stdev(values) / sqrt(len(values))
    return Estimate(mean=mean, low=mean - margin, high=mean + margin)
