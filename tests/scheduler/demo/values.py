"""Factories of the demo's values: each test names only what it is about."""

from collections.abc import Mapping

from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage, Verdict
from scheduler.demo.history import RunHistory, RunPoint
from scheduler.demo.statistics import Accuracy


def make_accuracy(estimate: float = 0.5) -> Accuracy:
    """An accuracy with an interval of 0.05 to both sides."""
    return Accuracy(estimate=estimate, low=estimate - 0.05, high=estimate + 0.05, num_prompts=128, num_rollouts=512)


def make_point(
    *,
    elapsed_s: float = 0.0,
    step: int = 0,
    pilots: int = 0,
    commits: int = 0,
    outcomes: Mapping[Outcome, int] | None = None,
    skip_rates: Mapping[Verdict, float] | None = None,
    accuracy: Accuracy | None = None,
) -> RunPoint:
    """A run at one moment, nothing spent unless said."""
    return RunPoint(
        elapsed_s=elapsed_s,
        step=step,
        version=step + 1,
        rollouts={Stage.PILOT: pilots, Stage.COMMIT: commits},
        outcomes=outcomes or {},
        skip_rates=skip_rates or {},
        accuracy=accuracy,
    )


def make_history(*points: RunPoint, uniform_rollouts: int | None = None) -> RunHistory:
    """A history of these points."""
    return RunHistory(allocator="pilot_commit", model="tiny", points=points, uniform_rollouts=uniform_rollouts)
