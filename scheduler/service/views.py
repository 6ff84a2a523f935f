"""What can be seen of runs: where they stand, what they spent, their prompts, weights and evaluations.

Owns: which facts make up a view. Never changes anything. Invariant: a question is answered from Redis whether or not an
engine is at work on the run; what only an engine knows is absent without one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.core.breaker import Breaker
from scheduler.core.errors import Conflict
from scheduler.core.ledger import Ledger
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.profile import Profile, profile
from scheduler.core.queue import Place, position_of
from scheduler.core.run import RunMode
from scheduler.engine.assembly import allocator_of
from scheduler.engine.circuit import Circuit
from scheduler.service.conductor import Conductor
from scheduler.state.connection import Redis
from scheduler.state.evaluations import EvaluationRecord, evaluation, evaluations
from scheduler.state.keys import RunKeys
from scheduler.state.prompt_pages import PromptPages
from scheduler.state.row import PromptView
from scheduler.state.run_pools import RunPools
from scheduler.state.runs import RunRecord, RunStore
from scheduler.state.table import ReadyPool, Table
from scheduler.state.versions import WeightRecord, recent_versions
from scheduler.table_sample import TableSample


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """What an operator sees of a run's breaker."""

    breaker: Breaker
    retry_in_s: float
    """Seconds until an open one lets a few claims through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """What an operator sees of a run."""

    record: RunRecord
    ledger: Ledger
    counters: Mapping[str, int]
    """Every ledger counter, verdicts and pilots included."""
    prompts: Mapping[PromptState, int]
    waiting_for: str
    """What it waits for now; empty while work flows."""
    claimable: Mapping[str, ReadyPool] = field(default_factory=dict)
    """What of each of its pools is."""
    staleness: Mapping[int, int] = field(default_factory=dict)
    """Published groups by their staleness now; empty while no engine is at work on the run."""
    learner_stats: Mapping[str, float] = field(default_factory=dict)
    """What the learner measured in its last step; empty before the first of this scheduler's life."""
    breaker: BreakerView | None = None
    """None while no engine is at work on the run."""
    idle_s: float | None = None
    """Seconds since a visit ended or new weights came; None while no engine is at work on the run."""
    place: Place | None = None
    """Where it stands in the queue; None for a run that is not queued."""


class Views:
    """One method a view; all raise NotFound for a run that there is not."""

    def __init__(self, redis: Redis, conductor: Conductor) -> None:
        self._redis = redis
        self._conductor = conductor
        self._runs = RunStore(redis)
        self._table_sample = TableSample(redis)

    async def run(self, run_id: str) -> RunView:
        """One run with its ledger."""
        return await self._run(run_id, None)

    async def _run(self, run_id: str, queue: Mapping[str, Place] | None) -> RunView:
        record = await self._runs.get(run_id)
        counters = await self._runs.counters(run_id)
        engine = self._conductor.working(run_id)
        table = Table.of(self._redis, RunKeys(run_id), record.config)
        place = None
        if record.state is RunState.QUEUED and engine is None:
            place = position_of(queue or await self._conductor.queue(), run_id)
        return RunView(
            record=record,
            ledger=Ledger.from_counters(counters),
            counters=counters,
            prompts=await table.sizes(),
            waiting_for=engine.phases.waiting_for() if engine else (place.why if place is not None else record.reason),
            claimable=await table.claimable(),
            staleness=engine.parts.pipeline.staleness() if engine else {},
            learner_stats=engine.parts.delivery.stats if engine else {},
            breaker=_breaker(engine.parts.circuit) if engine else None,
            idle_s=engine.idle_s if engine else None,
            place=place,
        )

    async def profile(self, run_id: str) -> Profile:
        """How hard a profile found its pool, so far; raises Conflict for a run that trains."""
        config = (await self._runs.get(run_id)).config
        if config.mode is not RunMode.PROFILE:
            raise Conflict(f"run {run_id} trains: only a run with mode profile looks at every prompt alike")
        return profile(await self._runs.counters(run_id), allocator_of(config), pilots=config.pilots)

    async def runs(self) -> list[RunView]:
        """All runs, oldest first."""
        queue = await self._conductor.queue()
        return [await self._run(run_id, queue) for run_id in await self._runs.ids()]

    async def spread(self, view: RunView) -> Mapping[float, float]:
        """A run's visited prompts at or below each edge of informativeness, estimated from some of them."""
        return await self._table_sample.spread(view.record, view.counters)

    async def prompt(self, run_id: str, prompt_id: str) -> PromptView:
        """Why a prompt was skipped: its row and history in this run; raises NotFound for the prompt, too."""
        record = await self._runs.get(run_id)
        await RunPools(self._redis, record.config.mixture).prompts([prompt_id])
        return await Table.of(self._redis, RunKeys(run_id), record.config).view(prompt_id)

    async def prompt_pages(self, run_id: str) -> PromptPages:
        """A run's prompts to look through."""
        config = (await self._runs.get(run_id)).config
        return PromptPages(self._redis, RunKeys(run_id), config)

    async def weights(self, run_id: str, *, count: int = 20, before: int | None = None) -> list[WeightRecord]:
        """The newest weight versions (with `before`, of those older than it), newest first."""
        await self._runs.get(run_id)
        return await recent_versions(self._redis, RunKeys(run_id), count=count, before=before)

    async def evaluation(self, run_id: str, evaluation_id: str) -> EvaluationRecord:
        """One evaluation; raises NotFound for it, too."""
        return await evaluation(self._redis, RunKeys(run_id), evaluation_id)

    async def evaluations(self, run_id: str) -> list[EvaluationRecord]:
        """Every evaluation of a run, oldest first."""
        await self._runs.get(run_id)
        return await evaluations(self._redis, RunKeys(run_id))


def _breaker(circuit: Circuit) -> BreakerView:
    return BreakerView(breaker=circuit.breaker, retry_in_s=circuit.retry_in_s)
