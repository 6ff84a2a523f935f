"""What the metrics page shows of a run's spend: attempts, tokens, budgets, and what uniform would have cost.

Owns: these metrics. Pure. Invariant: every number follows from the ledger's counters and the run's budget.
"""

from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.spend import MIXED_GROUPS, STRAGGLERS, TOO_STALE
from scheduler.core.types import Stage
from scheduler.core.uniform import uniform_rollouts
from scheduler.run_metrics.metric import COUNTER, GAUGE, Rows, RunMetric, RunReading


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


def _mixed_groups(run: RunReading, _: float) -> Rows:
    yield (), run.view.counters.get(MIXED_GROUPS, 0)


def _uniform(run: RunReading, _: float) -> Rows:
    rollouts = uniform_rollouts(run.view.counters, run.view.record.config.group_size)
    if rollouts is not None:
        yield (), rollouts


def _recalled(run: RunReading, _: float) -> Rows:
    for reason, counter in (("too_stale", TOO_STALE), ("straggler", STRAGGLERS)):
        yield (reason,), run.view.counters.get(counter, 0)


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


SPEND = (
    RunMetric(COUNTER, "attempts_total", "Rollouts asked of servers.", ("stage",), _attempts),
    RunMetric(GAUGE, "open_attempts", "Attempts whose outcome is open.", ("stage", "state"), _open),
    RunMetric(COUNTER, "ended_attempts_total", "Attempts by outcome.", ("stage", "outcome"), _ended),
    RunMetric(
        COUNTER,
        "generated_tokens_total",
        "Tokens generated, attempts lost or cancelled at their worst case.",
        ("stage",),
        _tokens,
    ),
    RunMetric(COUNTER, "prompt_tokens_total", "Tokens of the prompts sent.", ("stage",), _prompt_tokens),
    RunMetric(
        GAUGE, "ledger_balanced", "1 if open attempts and outcomes sum to the attempts made, else 0.", (), _balanced
    ),
    RunMetric(
        COUNTER, "recalled_attempts_total", "Attempts called back from servers, by reason.", ("reason",), _recalled
    ),
    RunMetric(COUNTER, "mixed_groups_total", "Published groups whose rewards differ.", (), _mixed_groups),
    RunMetric(
        GAUGE,
        "uniform_rollouts",
        "Rollouts that a whole group on every prompt would have cost for as many mixed groups, estimated.",
        (),
        _uniform,
    ),
    RunMetric(
        GAUGE,
        "budget_rollouts",
        "The rollout budget; no part is left of an unlimited one.",
        ("part",),
        _budget_rollouts,
    ),
    RunMetric(
        GAUGE, "budget_tokens", "The token budget; no part is left of an unlimited one.", ("part",), _budget_tokens
    ),
    RunMetric(GAUGE, "budget_evaluation_rollouts", "The cap on evaluation rollouts.", ("part",), _budget_evaluation),
    RunMetric(GAUGE, "budget_wall_clock_left_seconds", "Time until nothing new is claimed.", (), _budget_wall_clock),
)
