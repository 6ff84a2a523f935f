"""How informative the prompts of a run are, taken together.

Owns: the bins, and what is counted in each. Pure. Invariant: every row is counted once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scheduler.core.informativeness import Evidence

NUM_BINS = 10
MOST_BINARY = 0.25
"""The most informative a reward of 0 or 1 can be; graded rewards may be more so, which the last bin takes."""
UNJUDGED = "none"
"""In place of a verdict, of a prompt that has had none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Prompts whose informativeness is at least `low` and below `high`; the last bin has no end."""

    low: float
    high: float
    counts: Mapping[str, int]
    """Prompts by their last verdict."""


def informativeness_histogram(rows: Iterable[Evidence]) -> tuple[Bin, ...]:
    """The rows by informativeness, lowest first."""
    counts: list[Counter[str]] = [Counter() for _ in range(NUM_BINS)]
    for row in rows:
        place = min(NUM_BINS - 1, int(row.informativeness / MOST_BINARY * NUM_BINS))
        counts[place][row.last_verdict or UNJUDGED] += 1
    width = MOST_BINARY / NUM_BINS
    return tuple(
        Bin(low=place * width, high=(place + 1) * width, counts=dict(found)) for place, found in enumerate(counts)
    )
