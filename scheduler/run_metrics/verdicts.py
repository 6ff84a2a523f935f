"""What the metrics page shows of a run's prompts: verdicts, skip rates, revisits, and how informative they are.

Owns: these metrics. Pure. Invariant: counters are those of the ledger; only the spread of informativeness is estimated.
"""

import math

from scheduler.core.incomplete import Shortfall, shortfall_counter
from scheduler.core.lifecycle import PromptState
from scheduler.core.spend import (
    NOT_COMMITTED,
    considered,
    passed_over,
    pilot_success_rate,
    revisit_counter,
    skip_rates,
    visits_judged,
)
from scheduler.core.types import Verdict
from scheduler.run_metrics.metric import COUNTER, GAUGE, Rows, RunMetric, RunReading


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


def _revisits(run: RunReading, _: float) -> Rows:
    for before in Verdict:
        for verdict in Verdict:
            changed = "false" if verdict is before else "true"
            yield (before, verdict, changed), run.view.counters.get(revisit_counter(before, verdict), 0)


def _spread(run: RunReading, _: float) -> Rows:
    return ((("+Inf" if edge == math.inf else f"{edge:g}",), prompts) for edge, prompts in run.spread.items())


def _interrupted(run: RunReading, _: float) -> Rows:
    for name, count in sorted(run.view.counters.items()):
        kind, _colon, end = name.partition(":")
        if kind == "verdict" and end not in set(Verdict):
            yield (end,), count


def _incomplete(run: RunReading, _: float) -> Rows:
    return (((end,), run.view.counters.get(shortfall_counter(end), 0)) for end in Shortfall)


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


def _prompts(run: RunReading, _: float) -> Rows:
    return (((state,), run.view.prompts.get(state, 0)) for state in PromptState)


VERDICTS = (
    RunMetric(
        COUNTER, "considered_prompts_total", "Prompts claimed, or passed over by their history.", (), _considered
    ),
    RunMetric(
        COUNTER,
        "verdicts_total",
        "Verdicts, by what they rest on.",
        ("verdict", "basis"),
        _verdicts,
    ),
    RunMetric(
        COUNTER, "verdict_reasons_total", "Verdicts on pilots by the rule's reason.", ("verdict", "reason"), _reasons
    ),
    RunMetric(
        COUNTER,
        "revisits_total",
        "Verdicts on pilots of prompts judged before, by the last verdict and the new one.",
        ("before", "verdict", "changed"),
        _revisits,
    ),
    RunMetric(
        GAUGE, "skip_rate", "Prompts considered and not committed / prompts considered.", ("verdict",), _skip_rates
    ),
    RunMetric(
        COUNTER,
        "interrupted_visits_total",
        "Visits that ended without a verdict.",
        ("end",),
        _interrupted,
    ),
    RunMetric(
        COUNTER,
        "incomplete_groups_total",
        "Groups that some attempts gave no rollout for, by what became of them.",
        ("end",),
        _incomplete,
    ),
    RunMetric(COUNTER, "judged_pilots_total", "Pilots with a reward.", (), _judged),
    RunMetric(COUNTER, "correct_pilots_total", "Pilots that were right.", (), _correct),
    RunMetric(
        GAUGE, "pilot_success_rate", "Pilots that were right / judged pilots, before selection.", (), _success_rate
    ),
    RunMetric(
        GAUGE,
        "informativeness_prompts",
        "Visited prompts whose expected reward variance is at most `le`, estimated from a thousand of them.",
        ("le",),
        _spread,
    ),
    RunMetric(GAUGE, "prompts", "Prompts of the run by state.", ("state",), _prompts),
)
