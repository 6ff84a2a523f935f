"""A run's story in sentences.

Owns: which facts become which sentence, and their order. Pure: the present moment is an argument. Invariant: what did
not happen is not mentioned, and every number is one of the answer's own or a sum of them.
"""

from collections.abc import Iterable, Mapping, Sequence

from scheduler.cli import words
from scheduler.cli.answers import StageLine
from scheduler.cli.explanation_answers import RunExplanation
from scheduler.core.course import CourseEvent, Turn
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.core.run import RunConfig
from scheduler.core.spend import NOT_COMMITTED
from scheduler.core.types import Stage, Verdict

_MOST_TOLD = 5
"""Raises, pauses and stalls that are told one by one."""


def run_story(found: RunExplanation, now: float) -> list[str]:
    """What happened to the run, from its creation to what it waits for now."""
    return [
        _asked_for(found.run.pool, found.run.allocator, found.run.config),
        _began(found),
        _time(found),
        *_processes(found.course),
        *_raises(found.course),
        *_pauses(found.course, now),
        *_stalls(found.course),
        *_weights(found, now),
        _steps(found),
        *(_stage(stage, line) for stage, line in found.ledger.stages.items() if line.attempts),
        *_skipped(found),
        *_passed_over(found),
        *_without_verdict(found),
        _now(found, now),
    ]


def _asked_for(pool: str, allocator: str, config: RunConfig) -> str:
    budget = config.budget
    limits = [
        f"{config.max_steps:,} steps" if config.max_steps is not None else "",
        f"{budget.rollouts:,} rollouts" if budget.rollouts is not None else "",
        f"{budget.tokens:,} tokens" if budget.tokens is not None else "",
        words.duration(budget.wall_clock_s) if budget.wall_clock_s is not None else "",
    ]
    asked = words.listed(limit for limit in limits if limit)
    return (
        f"It trains on {pool} by {allocator}, {config.batch_size} groups of {config.pilots} pilots and "
        f"{config.commits} commits a step, at most {words.plural(config.max_staleness, 'version')} stale, "
        f"{f'for at most {asked}' if asked else 'without a limit'}."
    )


def _began(found: RunExplanation) -> str:
    run = found.run
    created = f"It was created at {words.clock(run.created_at)}"
    if run.started_at is None:
        return f"{created}, and has not claimed a prompt yet."
    return f"{created}, and claimed its first prompt {words.duration(run.started_at - run.created_at)} later."


def _time(found: RunExplanation) -> str:
    spent = sorted(found.state_s.items(), key=lambda item: -item[1])
    told = words.listed(f"{words.duration(seconds)} {_STATES[state]}" for state, seconds in spent if seconds >= 1)
    return f"It has spent {told}." if told else "All of it took less than a second in each state."


_STATES = {
    RunState.QUEUED: "in the queue for servers",
    RunState.WAITING_WEIGHTS: "waiting for a learner and its weights",
    RunState.RUNNING: "running",
    RunState.PAUSED: "paused",
    RunState.DRAINING: "draining",
}


def _processes(course: Sequence[CourseEvent]) -> Iterable[str]:
    schedulers = [event for event in course if event.what == Turn.SCHEDULER]
    learners = [event for event in course if event.what == Turn.LEARNER]
    if schedulers:
        again = "" if len(schedulers) == 1 else f", last at {words.clock(schedulers[-1].at)}"
        yield f"A scheduler took it up {words.times(len(schedulers))}{again}."
    if learners:
        last = "" if len(learners) == 1 else _last_learner(learners[-1])
        yield f"A learner attached {words.times(len(learners))}{last}."
    became = {
        "in the checkpoint": sum(event.trained for event in learners),
        "delivered again": sum(event.redelivered for event in learners),
        "rolled back": sum(event.rolled_back for event in learners),
    }
    if any(became.values()):
        told = words.listed(f"{count:,} {what}" for what, count in became.items() if count)
        yield f"Groups that an earlier learner had left: {told}."


def _last_learner(event: CourseEvent) -> str:
    return f", last at {words.clock(event.at)} as {event.who}, resuming from step {event.step or 0}"


def _raises(course: Sequence[CourseEvent]) -> Iterable[str]:
    raises = [event for event in course if event.what == Turn.BUDGET]
    if raises:
        told = words.listed(
            f"at {words.clock(event.at)}, {words.spaced(event.reason)}" for event in raises[-_MOST_TOLD:]
        )
        yield f"Its budget was raised {words.times(len(raises))}{_of_these(len(raises))}: {told}."


def _pauses(course: Sequence[CourseEvent], now: float) -> Iterable[str]:
    states = [event for event in course if event.what == Turn.STATE]
    ends = [event.at for event in states[1:]] + [now]
    pauses = [(event, end) for event, end in zip(states, ends, strict=False) if event.state is RunState.PAUSED]
    if pauses:
        told = words.listed(
            f"at {words.clock(event.at)} for {words.duration(end - event.at)} ({event.reason})"
            for event, end in pauses[-_MOST_TOLD:]
        )
        yield f"It was paused {words.times(len(pauses))}{_of_these(len(pauses))}: {told}."


def _stalls(course: Sequence[CourseEvent]) -> Iterable[str]:
    stalls = [event for event in course if event.what == Turn.STALL]
    if stalls:
        told = words.listed(f"at {words.clock(event.at)} for {event.reason}" for event in stalls[-_MOST_TOLD:])
        yield f"It stood still {words.times(len(stalls))}{_of_these(len(stalls))}, waiting {told}."


def _of_these(count: int) -> str:
    return f" (the last {_MOST_TOLD})" if count > _MOST_TOLD else ""


def _weights(found: RunExplanation, now: float) -> Iterable[str]:
    newest, run = found.newest_weights, found.run
    if newest is None:
        return
    live = f"version {run.live_version} is live" if run.live_version else "none has been live"
    took = "" if newest.push_s is None else f"; its push took {newest.push_s:.1f} s"
    yield (
        f"The learner has published {words.plural(newest.version, 'weight version')}, the last one after step "
        f"{newest.step} {words.ago(newest.announced_at, now)}{took}; {live}."
    )


def _steps(found: RunExplanation) -> str:
    run, groups = found.run, found.ledger.groups_trained
    return (
        f"The learner has applied {words.plural(run.step, 'step')} and saved {run.checkpointed_step}: "
        f"{words.plural(groups, 'group')} {'is' if groups == 1 else 'are'} trained."
    )


def _stage(stage: Stage, line: StageLine) -> str:
    ended = sorted(((count, outcome.value) for outcome, count in line.outcomes.items() if count), reverse=True)
    still = [(count, state.value) for state, count in line.open.items() if count]
    told = words.listed(f"{count:,} {words.spaced(name)}" for count, name in [*ended, *still])
    name = {Stage.PILOT: "Pilots", Stage.COMMIT: "Commits", Stage.EVAL: "Evaluations"}[stage]
    return f"{name}: {words.plural(line.attempts, 'attempt')}, {words.plural(line.tokens, 'token')}: {told}."


def _skipped(found: RunExplanation) -> Iterable[str]:
    rates, ledger = found.run.skip_rates, found.ledger
    if not rates:
        return
    told = words.listed(
        f"{words.rate(rates.get(verdict, 0.0))} {verdict}{_why(ledger.reasons, verdict)}"
        for verdict in NOT_COMMITTED
        if rates.get(verdict)
    )
    total = words.rate(sum(rates.values()))
    yield f"Of the prompts considered, {total} were not committed{f': {told}' if told else ''}."


def _why(reasons: Mapping[str, int], verdict: Verdict) -> str:
    found = {name.partition(":")[2]: count for name, count in reasons.items() if name.startswith(f"{verdict}:")}
    most = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return f" ({words.listed(f'{count:,} {words.spaced(reason)}' for reason, count in most)})" if most else ""


def _passed_over(found: RunExplanation) -> Iterable[str]:
    passed = {verdict: count for verdict, count in found.ledger.passed_over.items() if count}
    if passed:
        told = words.listed(f"{count:,} {verdict}" for verdict, count in passed.items())
        yield f"Passed over by their history, without a pilot: {told}."


def _without_verdict(found: RunExplanation) -> Iterable[str]:
    odd = {what: count for what, count in found.ledger.verdicts.items() if what not in {*Verdict} and count}
    if odd:
        told = words.listed(
            f"{count:,} {words.spaced(what)}" for what, count in sorted(odd.items(), key=lambda item: -item[1])
        )
        yield f"Visits that ended without a verdict: {told}."


def _now(found: RunExplanation, now: float) -> str:
    run = found.run
    why = f": {run.reason}" if run.reason else ""
    match run.state:
        case RunState.PAUSED:
            return f"It is paused{why}."
        case RunState.QUEUED:
            return (
                f"It is queued and waits for {run.waiting_for}."
                if run.waiting_for
                else "It is queued: its turn has come."
            )
        case state if state in ENDED:
            return f"It ended {_when(run.ended_at, now)} as {state}{why}."
    waits = f" and waits for {run.waiting_for}" if run.waiting_for else ", and work flows"
    return f"It is {words.spaced(run.state)}{f' ({run.reason})' if run.reason else ''}{waits}."


def _when(moment: float | None, now: float) -> str:
    return "" if moment is None else f"at {words.clock(moment)}, {words.ago(moment, now)},"
