"""What the metrics page shows of a run.

Owns: the names, labels and help texts of a run's metrics, and where each number comes from. Pure. Invariant: every
number follows from the ledger's counters, the run's record or its evaluations, so the page agrees with them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from scheduler.core.breaker import BreakerState, FailureClass, trips_counter
from scheduler.core.incomplete import Shortfall, shortfall_counter
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.spend import (
    NOT_COMMITTED,
    STRAGGLERS,
    TOO_STALE,
    considered,
    passed_over,
    pilot_success_rate,
    skip_rates,
    visits_judged,
)
from scheduler.core.types import Stage, Verdict
from scheduler.service import RunView
from scheduler.state.evaluations import EvaluationRecord, EvaluationState

Rows = Iterable[tuple[tuple[str, ...], float]]
"""Label values after the run's, and the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReading:
    """What is shown of one run."""

    view: RunView
    evaluations: tuple[EvaluationRecord, ...] = ()
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class RunMetric:
    """One metric that every run has."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    labels: tuple[str, ...]
    rows: Callable[[RunReading, float], Rows]
    """From a run's reading and the present moment, in seconds since the epoch."""


def _info(run: RunReading, _: float) -> Rows:
    config = run.view.record.config
    yield (config.pool, config.allocator), 1


def _state(run: RunReading, _: float) -> Rows:
    return (((state,), run.view.record.state is state) for state in RunState)


def _attempts(run: RunReading, _: float) -> Rows:
    return (((stage,), line.attempts) for stage, line in run.view.ledger.stages.items())


def _open(run: RunReading, _: float) -> Rows:
    stages = run.view.ledger.stages.items()
    return (((stage, state), line.open[state]) for stage, line in stages for state in OpenState)


def _ended(run: RunReading, _: float) -> Rows:
    stages = run.view.ledger.stages.items()
    return (((stage, outcome), line.outcomes[outcome]) for stage, line in stages for outcome in Outcome)


def _tokens(run: RunReading, _: float) -> Rows:
    return (((stage,), line.tokens) for stage, line in run.view.ledger.stages.items())


def _prompt_tokens(run: RunReading, _: float) -> Rows:
    return (((stage,), line.prompt_tokens) for stage, line in run.view.ledger.stages.items())


def _balanced(run: RunReading, _: float) -> Rows:
    yield (), run.view.ledger.is_balanced


def _considered(run: RunReading, _: float) -> Rows:
    yield (), considered(run.view.counters)


def _verdicts(run: RunReading, _: float) -> Rows:
    counters = run.view.counters
    for verdict in Verdict:
        yield (verdict, "pilots"), visits_judged(counters, verdict)
    for verdict in NOT_COMMITTED:
        yield (verdict, "history"), passed_over(counters, verdict)


def _reasons(run: RunReading, _: float) -> Rows:
    for name, count in sorted(run.view.counters.items()):
        if name.startswith("reason:"):
            _kind, verdict, reason = name.split(":", 2)
            yield (verdict, reason), count


def _interrupted(run: RunReading, _: float) -> Rows:
    for name, count in sorted(run.view.counters.items()):
        kind, _colon, end = name.partition(":")
        if kind == "verdict" and end not in set(Verdict):
            yield (end,), count


def _incomplete(run: RunReading, _: float) -> Rows:
    return (((end,), run.view.counters.get(shortfall_counter(end), 0)) for end in Shortfall)


def _recalled(run: RunReading, _: float) -> Rows:
    for reason, counter in (("too_stale", TOO_STALE), ("straggler", STRAGGLERS)):
        yield (reason,), run.view.counters.get(counter, 0)


def _breaker_trips(run: RunReading, _: float) -> Rows:
    return (((failure,), run.view.counters.get(trips_counter(failure), 0)) for failure in FailureClass)


def _breaker(run: RunReading, _: float) -> Rows:
    view = run.view.breaker
    if view is not None:
        yield from (((state,), view.breaker.state is state) for state in BreakerState)


def _skip_rates(run: RunReading, _: float) -> Rows:
    return (((verdict,), rate) for verdict, rate in skip_rates(run.view.counters).items())


def _judged(run: RunReading, _: float) -> Rows:
    yield (), run.view.counters.get("pilots:judged", 0)


def _correct(run: RunReading, _: float) -> Rows:
    yield (), run.view.counters.get("pilots:correct", 0)


def _success_rate(run: RunReading, _: float) -> Rows:
    rate = pilot_success_rate(run.view.counters)
    if rate is not None:
        yield (), rate


def _parts(limit: int | None, spent: int, reserved: int) -> Rows:
    yield ("spent",), spent
    yield ("reserved",), reserved
    if limit is not None:
        yield ("left",), limit - spent - reserved


def _budget_rollouts(run: RunReading, _: float) -> Rows:
    ledger = run.view.ledger
    return _parts(run.view.record.config.budget.rollouts, ledger.spent_rollouts, ledger.reserved_rollouts)


def _budget_tokens(run: RunReading, _: float) -> Rows:
    ledger = run.view.ledger
    return _parts(run.view.record.config.budget.tokens, ledger.spent_tokens, ledger.reserved_tokens)


def _budget_evaluation(run: RunReading, _: float) -> Rows:
    attempts = run.view.ledger.stages[Stage.EVAL].attempts
    return _parts(run.view.record.config.budget.eval_rollouts, attempts, 0)


def _budget_wall_clock(run: RunReading, now: float) -> Rows:
    record = run.view.record
    limit, until = record.config.budget.wall_clock_s, record.ended_at or now
    if limit is not None:
        elapsed = 0.0 if record.started_at is None else until - record.started_at
        yield (), max(0.0, limit - elapsed)


def _prompts(run: RunReading, _: float) -> Rows:
    return (((state,), run.view.prompts.get(state, 0)) for state in PromptState)


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


_COUNTER, _GAUGE = CounterMetricFamily, GaugeMetricFamily
RUN_METRICS = (
    RunMetric(_GAUGE, "run_info", "1; says what the run is.", ("pool", "allocator"), _info),
    RunMetric(_GAUGE, "run_state", "1 for the state the run is in, 0 for the others.", ("state",), _state),
    RunMetric(_COUNTER, "attempts_total", "Rollouts asked of servers.", ("stage",), _attempts),
    RunMetric(_GAUGE, "open_attempts", "Attempts whose outcome is open.", ("stage", "state"), _open),
    RunMetric(_COUNTER, "ended_attempts_total", "Attempts by outcome.", ("stage", "outcome"), _ended),
    RunMetric(
        _COUNTER,
        "generated_tokens_total",
        "Tokens generated, attempts lost or cancelled at their worst case.",
        ("stage",),
        _tokens,
    ),
    RunMetric(_COUNTER, "prompt_tokens_total", "Tokens of the prompts sent.", ("stage",), _prompt_tokens),
    RunMetric(
        _GAUGE, "ledger_balanced", "1 if open attempts and outcomes sum to the attempts made, else 0.", (), _balanced
    ),
    RunMetric(
        _COUNTER, "considered_prompts_total", "Prompts claimed, or passed over by their history.", (), _considered
    ),
    RunMetric(
        _COUNTER,
        "verdicts_total",
        "Verdicts, by what they rest on.",
        ("verdict", "basis"),
        _verdicts,
    ),
    RunMetric(
        _COUNTER, "verdict_reasons_total", "Verdicts on pilots by the rule's reason.", ("verdict", "reason"), _reasons
    ),
    RunMetric(
        _COUNTER,
        "interrupted_visits_total",
        "Visits that ended without a verdict.",
        ("end",),
        _interrupted,
    ),
    RunMetric(
        _COUNTER,
        "incomplete_groups_total",
        "Groups that some attempts gave no rollout for, by what became of them.",
        ("end",),
        _incomplete,
    ),
    RunMetric(
        _COUNTER, "recalled_attempts_total", "Attempts called back from servers, by reason.", ("reason",), _recalled
    ),
    RunMetric(
        _COUNTER,
        "breaker_trips_total",
        "How often failures stopped the run from claiming, by their class.",
        ("failure",),
        _breaker_trips,
    ),
    RunMetric(
        _GAUGE,
        "breaker",
        "1 for the state the breaker is in, 0 for the others; absent while no engine is at work.",
        ("state",),
        _breaker,
    ),
    RunMetric(
        _GAUGE, "skip_rate", "Prompts considered and not committed / prompts considered.", ("verdict",), _skip_rates
    ),
    RunMetric(_COUNTER, "judged_pilots_total", "Pilots with a reward.", (), _judged),
    RunMetric(_COUNTER, "correct_pilots_total", "Pilots that were right.", (), _correct),
    RunMetric(
        _GAUGE, "pilot_success_rate", "Pilots that were right / judged pilots, before selection.", (), _success_rate
    ),
    RunMetric(
        _GAUGE,
        "budget_rollouts",
        "The rollout budget; no part is left of an unlimited one.",
        ("part",),
        _budget_rollouts,
    ),
    RunMetric(
        _GAUGE, "budget_tokens", "The token budget; no part is left of an unlimited one.", ("part",), _budget_tokens
    ),
    RunMetric(_GAUGE, "budget_evaluation_rollouts", "The cap on evaluation rollouts.", ("part",), _budget_evaluation),
    RunMetric(_GAUGE, "budget_wall_clock_left_seconds", "Time until nothing new is claimed.", (), _budget_wall_clock),
    RunMetric(_GAUGE, "prompts", "Prompts of the run by state.", ("state",), _prompts),
    RunMetric(
        _GAUGE,
        "weight_version",
        "Newest weight version: of the learner, and live on servers.",
        ("of",),
        _versions,
    ),
    RunMetric(_GAUGE, "steps", "Last training step applied, and saved.", ("reached",), _steps),
    RunMetric(
        _GAUGE, "published_groups", "Groups the learner has not stepped on, by staleness.", ("staleness",), _staleness
    ),
    RunMetric(_GAUGE, "learner", "What the learner measured in its last step.", ("stat",), _learner_stats),
    RunMetric(_COUNTER, "trained_groups_total", "Groups in a step that is saved.", (), _trained),
    RunMetric(
        _GAUGE,
        "evaluation_accuracy",
        "Accuracy of the newest evaluation of each pool.",
        ("pool", "measure"),
        _accuracy,
    ),
    RunMetric(
        _GAUGE,
        "evaluation_weight_version",
        "Weight version that evaluation measured.",
        ("pool", "measure"),
        _evaluated_version,
    ),
)
