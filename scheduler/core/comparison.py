"""What runs cost that got equally far: their accuracy against what they had spent.

Owns: the curve of a run, where it reaches an accuracy, and the accuracy that runs are compared at. Pure. Invariant:
nothing is extrapolated; between two evaluations accuracy is taken to grow evenly with what was spent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run had spent at one moment."""

    rollouts: float = 0.0
    """Pilots and commits."""
    tokens: float = 0.0
    """Generated in them."""
    seconds: float = 0.0
    """Since its first claim."""

    def towards(self, other: "Spent", share: float) -> "Spent":
        """So far on the way to another."""
        return Spent(
            rollouts=self.rollouts + share * (other.rollouts - self.rollouts),
            tokens=self.tokens + share * (other.tokens - self.tokens),
            seconds=self.seconds + share * (other.seconds - self.seconds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluation."""

    spent: Spent
    """When its weights were made."""
    accuracy: float


def place_of(accuracies: Sequence[float], accuracy: float) -> tuple[int, float] | None:
    """Where a curve first reaches an accuracy: after which of its points, and what share of the way to the next.

    None if it never does; the share is 0 only where the first point has it already.
    """
    if accuracies and accuracies[0] >= accuracy:
        return 0, 0.0
    for place, (before, after) in enumerate(pairwise(accuracies)):
        if after >= accuracy:
            return place, (accuracy - before) / (after - before)
    return None


def reached(points: Sequence[Point], accuracy: float) -> Spent | None:
    """What was spent when the accuracy was first reached; None if it never was."""
    found = place_of([point.accuracy for point in points], accuracy)
    if found is None:
        return None
    place, share = found
    spent = points[place].spent
    return spent.towards(points[place + 1].spent, share) if share else spent


def common_accuracy(runs: Iterable[Sequence[Point]]) -> float | None:
    """The highest accuracy that every run has reached; None if one was never evaluated."""
    best = [max((point.accuracy for point in points), default=None) for points in runs]
    found = [accuracy for accuracy in best if accuracy is not None]
    return min(found) if found and len(found) == len(best) else None
