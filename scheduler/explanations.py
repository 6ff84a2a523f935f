"""What happened to a run, a prompt, a group or a rollout, put together from what is kept of it.

Owns: which facts belong to which story, and finding out what a name means. Never changes anything and never words an
answer. Invariant: a fact that is not kept any more is absent, never made up.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from scheduler.core.course import CourseEvent, Turn
from scheduler.core.errors import NotFound
from scheduler.core.ledger import OpenState
from scheduler.core.lifecycle import ENDED, PromptState, RunState
from scheduler.core.near import near
from scheduler.service import RunView, Service
from scheduler.state.course import course
from scheduler.state.groups import GroupEntry, group_entries
from scheduler.state.keys import RunKeys
from scheduler.state.records import Attempt, Ending, Record, Recorded, RecordStore
from scheduler.state.row import PromptView
from scheduler.state.run_pools import RunPools
from scheduler.state.table import Table
from scheduler.state.unsolved import UnsolvedPage, unsolved
from scheduler.state.versions import WeightRecord, recent_versions
from scheduler.state.visit import Visit
from scheduler.state.visits import open_visits_of

_RID = re.compile(r"(?P<visit>[0-9a-f]{16})-\d+-\d+")
_EVALUATION = "eval-"
_NEAR_RUNS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """What happened to a run."""

    view: RunView
    course: Sequence[CourseEvent]
    """Oldest first; of a very long run the newest."""
    state_s: Mapping[RunState, float]
    """Seconds in each state so far, as far as the course tells."""
    newest_weights: WeightRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitStory:
    """What happened in one visit to a prompt."""

    visit_id: str
    prompt_id: str
    status: str
    """An open state or an outcome of the ledger: where its rollouts stand, or what became of them."""
    attempts: tuple[Attempt, ...]
    """Those that came to nothing included; each with its own status, the visit's where it is a rollout."""
    ending: Ending | None
    """How the visit ended; None while it is open."""
    group_ending: Ending | None
    """How the group it became ended; None while that is open, and if it became none."""
    batch_step: int | None
    """The step of the batch its open group is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStory:
    """What happened to a prompt in a run."""

    prompt: PromptView
    policy_version: int
    run_state: RunState
    position: int | None
    """How many claimable prompts come before it; None if it is not claimable."""
    open_visit: Visit | None
    visits: tuple[VisitStory, ...]
    """Those of its history that are still recorded, newest first."""


class Explanations:
    """Answers "what happened?" from Redis, whether or not an engine is at work."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._redis = service.redis

    async def run(self, run_id: str, *, now: float) -> RunStory:
        """A run's story; raises NotFound with near ids."""
        await self._check_run(run_id)
        view = await self._service.views.run(run_id)
        events = await course(self._redis, RunKeys(run_id))
        newest = await recent_versions(self._redis, RunKeys(run_id), count=1)
        until = now if view.record.ended_at is None else view.record.ended_at
        return RunStory(
            view=view,
            course=events,
            state_s=state_seconds(events, created_at=view.record.created_at, until=until),
            newest_weights=newest[0] if newest else None,
        )

    async def prompt(self, run_id: str, prompt_id: str) -> PromptStory:
        """A prompt's story; raises NotFound with near ids."""
        await self._check_run(run_id)
        record, keys = await self._service.runs.get(run_id), RunKeys(run_id)
        pools = RunPools(self._redis, record.config.mixture)
        if not await pools.has(prompt_id):
            raise await _no_prompt(pools, prompt_id)
        view = await self._service.views.prompt(run_id, prompt_id)
        visit_ids = list(dict.fromkeys(event.visit_id for event in view.history if event.visit_id))
        is_open = view.state is PromptState.CLAIMED
        opened = await open_visits_of(self._redis, keys, prompt_id) if is_open else []
        visits = await self.recorded(keys, [*(visit.visit_id for visit in opened), *visit_ids])
        return PromptStory(
            prompt=view,
            policy_version=record.version,
            run_state=record.state,
            position=await Table.of(self._redis, keys, record.config).position(prompt_id),
            open_visit=opened[0] if opened else None,
            visits=tuple(visits),
        )

    async def visit(self, run_id: str, visit_id: str) -> VisitStory:
        """The story of a visit, and of the group it became, which has the same id; raises NotFound."""
        await self._check_run(run_id)
        found = await self.recorded(RunKeys(run_id), [visit_id])
        if not found:
            raise NotFound(
                f"nothing is recorded of group {visit_id} in run {run_id}: "
                "only the newest ten thousand visits are, or it never was",
                field="group",
            )
        return found[0]

    async def rollout(self, run_id: str, rid: str) -> tuple[VisitStory, Attempt]:
        """The story of the visit that an attempt was made in, and the attempt; raises NotFound."""
        if rid.startswith(_EVALUATION):
            raise NotFound(
                f"{rid} is of an evaluation, whose attempts are not kept one by one: see `evaluation show`",
                field="rollout",
            )
        matched = _RID.fullmatch(rid)
        story = await self.visit(run_id, matched["visit"] if matched else rid)
        attempt = next((attempt for attempt in story.attempts if attempt.rid == rid), None)
        if attempt is None:
            raise NotFound(
                f"visit {story.visit_id} has no attempt {rid}{_told(rid, [made.rid for made in story.attempts])}",
                field="rollout",
            )
        return story, attempt

    async def named(self, run_id: str, name: str) -> "PromptStory | VisitStory | tuple[VisitStory, Attempt]":
        """The story of whatever has this name in a run: a prompt, else a rollout or a group by the form of the name.

        Raises NotFound with near names.
        """
        await self._check_run(run_id)
        pools = RunPools(self._redis, (await self._service.runs.get(run_id)).config.mixture)
        if await pools.has(name):
            return await self.prompt(run_id, name)
        if _RID.fullmatch(name) or name.startswith(_EVALUATION):
            return await self.rollout(run_id, name)
        if await self.recorded(RunKeys(run_id), [name]):
            return await self.visit(run_id, name)
        raise await _no_prompt(pools, name, what="prompt, group or rollout")

    async def unsolved(
        self, run_id: str, *, min_rollouts: int, count: int, offset: int
    ) -> tuple[UnsolvedPage, Mapping[str, str]]:
        """Prompts never solved, with their reference answers; raises NotFound."""
        record = await self._service.runs.get(run_id)
        page = await unsolved(self._redis, RunKeys(run_id), min_rollouts=min_rollouts, count=count, offset=offset)
        pools = RunPools(self._redis, record.config.mixture)
        prompts = await pools.prompts([each.prompt_id for each in page.prompts])
        return page, {prompt.prompt_id: prompt.answer for prompt in prompts}

    async def recorded(self, keys: RunKeys, visit_ids: Sequence[str]) -> list[VisitStory]:
        """The stories of these visits, of those that are still recorded."""
        recorded = await RecordStore(self._redis, keys).many(visit_ids)
        entries = await group_entries(self._redis, keys, list(recorded))
        return [_visit_story(found, entries.get(visit_id)) for visit_id, found in recorded.items()]

    async def _check_run(self, run_id: str) -> None:
        ids = await self._service.runs.ids()
        if run_id not in ids:
            raise NotFound(f"there is no run {run_id}{_told(run_id, ids[-_NEAR_RUNS:])}", field="run")


async def _no_prompt(pools: RunPools, name: str, *, what: str = "prompt") -> NotFound:
    told, mixture = _told(name, await pools.names_like(name)), pools.mixture
    where = f"its pool{'s are' if mixture.is_mixed else ' is'} {', '.join(mixture.names)}"
    return NotFound(f"there is no {what} {name} here; {where}{told}", field="prompt")


def _told(name: str, names: Sequence[str]) -> str:
    found = near(name, names)
    return f"; near it: {', '.join(found)}" if found else ""


def _visit_story(found: Recorded, entry: GroupEntry | None) -> VisitStory:
    record, status = found.record, _status(found, entry)
    return VisitStory(
        visit_id=record.visit_id,
        prompt_id=record.prompt_id,
        status=status,
        attempts=tuple(_settled(record, status)),
        ending=record.ending,
        group_ending=found.group_ending,
        batch_step=None if entry is None else entry.step,
    )


def _status(found: Recorded, entry: GroupEntry | None) -> str:
    if found.group_ending is not None and found.group_ending.outcome is not None:
        return found.group_ending.outcome
    if entry is not None:
        return entry.status
    ending = found.record.ending
    return OpenState.HELD if ending is None or ending.outcome is None else ending.outcome


def _settled(record: Record, status: str) -> Sequence[Attempt]:
    """The attempts, those that became rollouts with what became of all of them."""
    return [
        msgspec.structs.replace(attempt, status=status) if attempt.status == OpenState.HELD else attempt
        for attempt in record.attempts
    ]


def state_seconds(events: Sequence[CourseEvent], *, created_at: float, until: float) -> Mapping[RunState, float]:
    """Seconds in each state; a run is created QUEUED, and one that has ended spends no time in its last state."""
    seconds: dict[RunState, float] = {}
    state, since = RunState.QUEUED, created_at
    for event in events:
        if event.what is Turn.STATE and event.state is not None:
            seconds[state] = seconds.get(state, 0.0) + max(0.0, event.at - since)
            state, since = event.state, event.at
    if state not in ENDED:
        seconds[state] = seconds.get(state, 0.0) + max(0.0, until - since)
    return seconds
