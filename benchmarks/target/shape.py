"""The shape of a pool: how its prompts' success rates are distributed.

Owns: the target shapes, and choosing candidates that follow one. Pure. Invariant: a candidate is chosen at most once.
"""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.errors import InvalidInput

_DRAWS = 1_000_000
_WINDOW = 0.01
"""Candidates this close to the wanted rate are equally good: among them, the family seen least is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A Beta distribution of success rates."""

    a: float
    b: float

    def quantiles(self, count: int) -> list[float]:
        """`count` rates in ascending order, evenly spaced in probability; good to three digits."""
        draws = np.random.default_rng(0).beta(self.a, self.b, _DRAWS)
        return [float(rate) for rate in np.quantile(draws, (np.arange(count) + 0.5) / count)]


U_SHAPED = Shape(a=0.2, b=0.3)
"""Of real pools for a base model: about half of all 16-pilot groups agree."""
FLAT = Shape(a=1.0, b=1.0)


def choose(rates: Sequence[float], families: Sequence[str], shape: Shape, count: int, seed: int) -> list[int]:
    """Places of `count` candidates whose rates follow `shape`, in ascending order of the rate that was wanted.

    Raises InvalidInput where there are not enough candidates.
    """
    _check(count, len(rates))
    rng = random.Random(seed)
    order = sorted(range(len(rates)), key=lambda place: (rates[place], rng.random()))
    wanted = shape.quantiles(count)
    taken: Counter[str] = Counter()
    chosen: dict[int, int] = {}
    # In random order: were the scarce rates served last, they would be made up of what is left.
    for target in rng.sample(range(count), count):
        place = _best([rates[index] for index in order], order, wanted[target], families, taken)
        order.remove(place)
        taken[families[place]] += 1
        chosen[target] = place
    return [chosen[target] for target in range(count)]


def sample(rates: Sequence[float], count: int, seed: int) -> list[int]:
    """Places of any `count` candidates, in ascending order of their rates; raises InvalidInput if there are fewer."""
    _check(count, len(rates))
    return sorted(random.Random(seed).sample(range(len(rates)), count), key=lambda place: rates[place])


def _check(count: int, num_candidates: int) -> None:
    if count > num_candidates:
        raise InvalidInput(f"{count} prompts cannot be chosen from {num_candidates} candidates")


def _best(
    rates: Sequence[float], order: Sequence[int], wanted: float, families: Sequence[str], taken: Counter[str]
) -> int:
    """The candidate for a wanted rate: of the least used family within the window, else the closest one."""
    low, high = bisect_left(rates, wanted - _WINDOW), bisect_left(rates, wanted + _WINDOW)
    if low < high:
        return min(order[low:high], key=lambda place: taken[families[place]])
    nearby = [index for index in (low - 1, low) if 0 <= index < len(order)]
    return order[min(nearby, key=lambda index: abs(rates[index] - wanted))]


def degenerate_rate(rates: Sequence[float], rollouts: int) -> float:
    """Expected share of groups of so many rollouts that are all right or all wrong."""
    return sum(rate**rollouts + (1 - rate) ** rollouts for rate in rates) / len(rates)
