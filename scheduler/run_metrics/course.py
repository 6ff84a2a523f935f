"""What the metrics page shows of a run's course: its state, weights, steps, learner and evaluations.

Owns: these metrics. Pure. Invariant: every number follows from the run's record, its engine or its evaluations.
"""

from collections.abc import Iterable

from scheduler.core.breaker import BreakerState, FailureClass, trips_counter
from scheduler.core.evaluation import EvaluationState
from scheduler.core.lifecycle import RunState
from scheduler.run_metrics.metric import COUNTER, GAUGE, Rows, RunMetric, RunReading
from scheduler.state.evaluations import EvaluationRecord


def _info(run: RunReading, _: float) -> Rows:
    config = run.view.record.config
    yield (config.mixture.label, config.allocator), 1


def _state(run: RunReading, _: float) -> Rows:
    return (((state,), run.view.record.state is state) for state in RunState)


def _idle(run: RunReading, _: float) -> Rows:
    if run.view.idle_s is not None:
        yield (), run.view.idle_s


def _breaker_trips(run: RunReading, _: float) -> Rows:
    return (((failure,), run.view.counters.get(trips_counter(failure), 0)) for failure in FailureClass)


def _breaker(run: RunReading, _: float) -> Rows:
    view = run.view.breaker
    if view is not None:
        yield from (((state,), view.breaker.state is state) for state in BreakerState)


def _versions(run: RunReading, _: float) -> Rows:
    yield ("policy",), run.view.record.version
    yield ("live",), run.view.record.live_version


def _steps(run: RunReading, _: float) -> Rows:
    yield ("applied",), run.view.record.step
    yield ("saved",), run.view.record.checkpointed_step


def _staleness(run: RunReading, _: float) -> Rows:
    return (((str(staleness),), count) for staleness, count in sorted(run.view.staleness.items()))


def _learner_stats(run: RunReading, _: float) -> Rows:
    return (((name,), value) for name, value in sorted(run.view.learner_stats.items()))


def _trained(run: RunReading, _: float) -> Rows:
    yield (), run.view.counters.get("groups:trained", 0)


def _newest_evaluations(run: RunReading) -> Iterable[EvaluationRecord]:
    """Per pool and measure the newest finished evaluation that measured anything."""
    done = [record for record in run.evaluations if record.state is EvaluationState.DONE and record.judged]
    return {(record.pool, record.measure): record for record in done}.values()


def _accuracy(run: RunReading, _: float) -> Rows:
    for record in _newest_evaluations(run):
        if record.accuracy is not None:
            yield (record.pool, record.measure), record.accuracy


def _evaluated_version(run: RunReading, _: float) -> Rows:
    return (((record.pool, record.measure), record.version or 0) for record in _newest_evaluations(run))


COURSE = (
    RunMetric(GAUGE, "run_info", "1; says what the run is.", ("pool", "allocator"), _info),
    RunMetric(GAUGE, "run_state", "1 for the state the run is in, 0 for the others.", ("state",), _state),
    RunMetric(
        GAUGE,
        "idle_seconds",
        "Since a visit ended or new weights came; absent while no engine is at work.",
        (),
        _idle,
    ),
    RunMetric(
        GAUGE,
        "breaker",
        "1 for the state the breaker is in, 0 for the others; absent while no engine is at work.",
        ("state",),
        _breaker,
    ),
    RunMetric(
        COUNTER,
        "breaker_trips_total",
        "How often failures stopped the run from claiming, by their class.",
        ("failure",),
        _breaker_trips,
    ),
    RunMetric(
        GAUGE,
        "weight_version",
        "Newest weight version: of the learner, and live on servers.",
        ("of",),
        _versions,
    ),
    RunMetric(GAUGE, "steps", "Last training step applied, and saved.", ("reached",), _steps),
    RunMetric(
        GAUGE, "published_groups", "Groups the learner has not stepped on, by staleness.", ("staleness",), _staleness
    ),
    RunMetric(COUNTER, "trained_groups_total", "Groups in a step that is saved.", (), _trained),
    RunMetric(GAUGE, "learner", "What the learner measured in its last step.", ("stat",), _learner_stats),
    RunMetric(
        GAUGE,
        "evaluation_accuracy",
        "Accuracy of the newest evaluation of each pool.",
        ("pool", "measure"),
        _accuracy,
    ),
    RunMetric(
        GAUGE,
        "evaluation_weight_version",
        "Weight version that evaluation measured.",
        ("pool", "measure"),
        _evaluated_version,
    ),
)
