"""Explanations that stories are made of: each test names only what it is about."""

from scheduler.cli.answers import Event
from scheduler.cli.explanation_answers import (
    Attempt,
    Ending,
    NewestWeights,
    OpenVisit,
    PromptExplanation,
    RunExplanation,
    Visit,
)
from scheduler.core.course import CourseEvent
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Stage
from tests.scheduler.cli.shown import make_ledger, make_prompt, make_run


def make_story(
    *,
    state: RunState = RunState.RUNNING,
    reason: str = "",
    waiting_for: str = "",
    ended_at: float | None = None,
    course: tuple[CourseEvent, ...] = (),
    state_s: dict[RunState, float] | None = None,
    newest: NewestWeights | None = None,
    reasons: dict[str, int] | None = None,
) -> RunExplanation:
    """A run that was created at second 0, with 40 trained commits."""
    return RunExplanation(
        run=make_run(state=state, reason=reason, waiting_for=waiting_for, ended_at=ended_at),
        ledger=make_ledger(trained=40, groups_trained=10, reasons=reasons),
        course=course,
        state_s=state_s or {},
        newest_weights=newest,
    )


def make_attempt(
    *,
    rid: str = "v-1-0",
    stage: Stage = Stage.PILOT,
    status: str = "trained",
    server: str = "http://one",
    newest_version: int | None = 3,
    reward: float | None = 1.0,
    reason: str = "",
) -> Attempt:
    """An attempt of version 3 and 20 tokens, right if it has a reward above 0."""
    came = reward is not None
    return Attempt(
        rid=rid,
        stage=stage,
        status=status,
        server=server,
        oldest_version=3 if came else None,
        newest_version=newest_version if came else None,
        tokens=20 if came else 0,
        reward=reward,
        correct=None if reward is None else reward > 0,
        finish_reason="stop" if came else None,
        reason=reason,
    )


def make_ending(what: str = "published", *, reason: str = "", step: int | None = None) -> Ending:
    """An ending at version 4."""
    return Ending(at=0.0, version=4, what=what, reason=reason, step=step)


def make_visit(
    *attempts: Attempt,
    status: str = "trained",
    ending: Ending | None = None,
    group_ending: Ending | None = None,
    batch_step: int | None = None,
) -> Visit:
    """A visit to sum-1."""
    return Visit(
        visit_id="v",
        prompt_id="sum-1",
        status=status,
        attempts=attempts,
        ending=ending,
        group_ending=group_ending,
        batch_step=batch_step,
    )


def make_prompt_story(
    *,
    state: PromptState = PromptState.READY,
    next_version: int | None = None,
    reason: str = "",
    run_state: RunState = RunState.RUNNING,
    position: int | None = None,
    open_visit: OpenVisit | None = None,
) -> PromptExplanation:
    """A prompt that was never visited, with the policy at version 5."""
    return PromptExplanation(
        prompt=make_prompt(state=state, next_version=next_version, reason=reason),
        policy_version=5,
        run_state=run_state,
        position=position,
        open_visit=open_visit,
        visits=(),
    )


def make_history(
    what: str, *, visit_id: str = "", group_id: str = "", reason: str = "", step: int | None = None
) -> Event:
    """An entry of a history at version 4, of three pilots right in four where a visit ended."""
    pilots = 4 if visit_id else 0
    return Event(
        at=0.0,
        version=4,
        what=what,
        reason=reason,
        pilots=pilots,
        correct=3 if pilots else 0,
        group_id=group_id,
        step=step,
        visit_id=visit_id,
    )
