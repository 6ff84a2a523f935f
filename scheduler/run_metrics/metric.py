"""What a metric of a run is, and what it is read from.

Owns: the shape of both. Pure. Invariant: a metric's first label is always the run, and is not among its `labels`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from scheduler.service import RunView
from scheduler.state.evaluations import EvaluationRecord

COUNTER, GAUGE = CounterMetricFamily, GaugeMetricFamily

Rows = Iterable[tuple[tuple[str, ...], float]]
"""Label values after the run's, and the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReading:
    """What is shown of one run."""

    view: RunView
    evaluations: tuple[EvaluationRecord, ...] = ()
    """Oldest first."""
    spread: Mapping[float, float] = field(default_factory=dict)
    """Visited prompts at or below each edge of informativeness."""


@dataclass(frozen=True, slots=True)
class RunMetric:
    """One metric that every run has."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    labels: tuple[str, ...]
    rows: Callable[[RunReading, float], Rows]
    """From a run's reading and the present moment, in seconds since the epoch."""
