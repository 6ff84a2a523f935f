"""The history of one run as its picture needs it.

Owns: `RunPoint` and `RunHistory`. Pure. Invariant: points are in order of time, and their rollout
counts are cumulative.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage, Verdict
from scheduler.demo.statistics import Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPoint:
    """A run at one moment."""

    elapsed_s: float
    step: int
    version: int
    rollouts: Mapping[Stage, int]
    """Attempts made so far, by stage."""
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    """Attempts settled so far, by outcome."""
    skip_rates: Mapping[Verdict, float] = field(default_factory=dict)
    """Share of the prompts considered lately that ended in each verdict but COMMIT."""
    accuracy: Accuracy | None = None
    """Held-out accuracy at `version`, where it was measured."""

    @property
    def training_rollouts(self) -> int:
        """Pilots and commits: what the budget of rollouts is spent on."""
        return self.rollouts.get(Stage.PILOT, 0) + self.rollouts.get(Stage.COMMIT, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """A whole run. Raises InvalidInput where its points are not in order."""

    allocator: str
    model: str
    points: tuple[RunPoint, ...]
    uniform_rollouts: int | None = None
    """Rollouts that uniform allocation would have spent on the same prompts considered; None if that is not known."""

    def __post_init__(self) -> None:
        if not self.points:
            raise InvalidInput("a run history needs at least one point")
        for earlier, later in pairwise(self.points):
            if later.elapsed_s < earlier.elapsed_s or later.training_rollouts < earlier.training_rollouts:
                raise InvalidInput(f"run history goes backwards after {earlier.elapsed_s:g} s")

    @property
    def measured(self) -> tuple[RunPoint, ...]:
        """The points at which held-out accuracy was measured."""
        return tuple(point for point in self.points if point.accuracy is not None)

    @property
    def saved_rate(self) -> float | None:
        """Share of uniform allocation's rollouts that were not spent; negative where more were."""
        if not self.uniform_rollouts:
            return None
        return 1 - self.points[-1].training_rollouts / self.uniform_rollouts

    @property
    def finding(self) -> str:
        """The run in one sentence: the picture's title."""
        spent = f"{self.points[-1].training_rollouts:,} rollouts"
        if not self.measured:
            return f"{spent} spent in {self.points[-1].step} steps"
        first, last = (point.accuracy.estimate for point in (self.measured[0], self.measured[-1]) if point.accuracy)
        sentence = f"{first:.2f} \N{RIGHTWARDS ARROW} {last:.2f} held-out accuracy with {spent}"
        return sentence if self.saved_rate is None else f"{sentence}; {_compared(self.saved_rate)}"


def _compared(saved_rate: float) -> str:
    percent = round(abs(saved_rate) * 100)
    if percent == 0:
        return "as many as uniform on the same prompts"
    return f"{percent} % {'fewer' if saved_rate > 0 else 'more'} than uniform on the same prompts"
