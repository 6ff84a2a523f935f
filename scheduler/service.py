"""What the scheduler can be asked, apart from HTTP.

Owns: pools, runs, and which run's engine is at work on the fleet. Never formats an answer. Invariants: one run owns the
fleet at a time, the others wait in QUEUED; a question about a run is answered from Redis whether or not its engine is
at work; an order to a run goes through its engine if that is at work.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from inference.client import ServerClient
from scheduler.checkpoints import Checkpoints
from scheduler.core.breaker import Breaker
from scheduler.core.broadcast import BroadcastOffer, BroadcastOrder, Rendezvous
from scheduler.core.budget import Budget
from scheduler.core.errors import Conflict, InvalidInput, NotAtWork
from scheduler.core.evaluation import DEFAULT_TARGET, EvaluationMeasure
from scheduler.core.ledger import Ledger
from scheduler.core.lifecycle import ENDED, RUN_MOVES, PromptState, RunState
from scheduler.core.run import RunConfig
from scheduler.engine.assembly import EngineSettings, Parts, Surroundings
from scheduler.engine.circuit import Circuit
from scheduler.engine.engine import Engine
from scheduler.fleet import Connect, ConnectNamed, Fleet, Roster, ServerView
from scheduler.frames import Attached, FinalFrame, Frame
from scheduler.rewards.pool import RewardPool
from scheduler.state.connection import Redis, why_silent
from scheduler.state.evaluations import EvaluationRecord, evaluation, evaluations
from scheduler.state.fleet_orders import FleetOrders
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease, holder_of
from scheduler.state.pools import PoolStore
from scheduler.state.prompt_pages import PromptPages
from scheduler.state.runs import RunRecord, RunStore
from scheduler.state.table import PromptView, Table
from scheduler.state.transaction import Transactor
from scheduler.state.versions import WeightRecord, recent_versions
from scheduler.table_sample import TableSample
from scheduler.tokenizers import Tokenizers

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
"""Between two looks for a run that another scheduler was asked to create."""


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
    staleness: Mapping[int, int] = field(default_factory=dict)
    """Published groups by their staleness now; empty while no engine is at work on the run."""
    learner_stats: Mapping[str, float] = field(default_factory=dict)
    """What the learner measured in its last step; empty before the first of this scheduler's life."""
    breaker: BreakerView | None = None
    """None while no engine is at work on the run."""
    idle_s: float | None = None
    """Seconds since a visit ended or new weights came; None while no engine is at work on the run."""


class Service:
    """The scheduler's answers and orders; `conduct` is its long loop."""

    def __init__(
        self,
        redis: "Redis",
        fleet: Fleet,
        rewards: RewardPool,
        settings: EngineSettings,
        *,
        connect: Connect,
        connect_named: ConnectNamed | None = None,
        servers: Sequence[str] = (),
        incarnation: str | None = None,
        lease_ttl_s: float = 15.0,
        model: Path | None = None,
        weight_roots: Sequence[Path] | None = None,
    ) -> None:
        """`servers`: addresses that the settings name; `connect` makes a client for one.

        `connect_named` does so for one that is named over the API, and says which may be; without it, any.
        """
        self.redis = redis
        self.fleet = fleet
        self.roster = Roster(
            fleet,
            FleetOrders(redis),
            connect=connect,
            connect_named=connect_named or _any_of(connect),
            configured=servers,
        )
        self.rewards = rewards
        self.pools = PoolStore(redis)
        self.runs = RunStore(redis)
        self.tokenizers = Tokenizers()
        self._table_sample = TableSample(redis)
        self._checkpoints = Checkpoints(model, weight_roots)
        self._paths = settings.paths
        self._settings = settings
        self._incarnation = incarnation or uuid.uuid4().hex
        self._lease_ttl_s = lease_ttl_s
        self._engine: Engine | None = None
        self._ordering = asyncio.Lock()
        """Held to change a run's state, so that no engine begins with a state that has just changed."""
        self._news = asyncio.Event()
        self._ended: set[str] = set()
        """Runs known to have ended, which stay so: they are not read again at each look for one to work on."""
        self._standby = ""
        """Why this scheduler only stands by; empty while it has a run, or there is none."""

    async def conduct(self) -> None:
        """Give the fleet to one run after the other.

        Consumes: runs that have not ended, oldest first. Produces: their ends. Waits for: a run to be created, here or
        by another scheduler, or a dead scheduler's lease to run out. Unblocked by: `create_run`, `resume`, time.
        """
        while True:
            self._news.clear()
            record = await self._next_run()
            if record is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._news.wait()
                continue
            lease = await self._hold(record.run_id)
            try:
                await self.roster.load()
                await self._work_on(record.run_id, lease)
            finally:
                self._engine = None
                self.fleet.disown()
                await asyncio.shield(lease.release())
                log.info("lease_released", run=record.run_id, fence=lease.fence)

    async def _work_on(self, run_id: str, lease: Lease) -> None:
        around = Surroundings(
            redis=self.redis,
            fleet=self.fleet,
            rewards=self.rewards,
            tokenizers=self.tokenizers,
            settings=self._settings,
        )
        async with self._ordering:
            record = await self.runs.get(run_id)
            if record.state in ENDED:
                return
            try:
                self._engine = engine = await Engine.create(around, lease=lease, record=record)
            except InvalidInput as error:
                # Nothing that is asked of it later could be done; the runs behind it can.
                await self._order(record, RunState.FAILED, str(error))
                return
        await engine.run()
        # Nobody is left to make a push again whose `continue` failed.
        await self.fleet.continue_all()

    async def quiesce(self, *, grace_s: float) -> None:
        """Before a stop: claim nothing more and give what is in flight a while to come back."""
        if self._engine is not None:
            await self._engine.quiesce(grace_s=grace_s)

    async def _next_run(self) -> RunRecord | None:
        """The oldest run that has not ended, preferring one that has begun; one paused before it began stays behind."""
        records = [await self.runs.get(run_id) for run_id in await self.runs.ids() if run_id not in self._ended]
        self._ended.update(record.run_id for record in records if record.state in ENDED)
        alive = [
            record
            for record in records
            if record.state not in ENDED and (record.state is not RunState.PAUSED or record.incarnation)
        ]
        alive.sort(key=lambda record: (record.state is RunState.QUEUED, record.created_at))
        return alive[0] if alive else None

    async def _hold(self, run_id: str) -> Lease:
        """The run's lease, waited for while another scheduler's has not run out."""
        while True:
            try:
                lease = await Lease.acquire(
                    self.redis, RunKeys(run_id), holder=self._incarnation, ttl_s=self._lease_ttl_s
                )
            except Conflict as conflict:
                if not self._standby:
                    log.info("standing_by", run=run_id, reason=str(conflict))
                self._standby = str(conflict)
                await asyncio.sleep(min(_LOOK_S, self._lease_ttl_s / 4))
                continue
            self._standby = ""
            log.info("lease_acquired", run=run_id, fence=lease.fence, holder=self._incarnation)
            return lease

    async def create_run(self, config: RunConfig, run_id: str | None = None) -> RunRecord:
        """Queue a run; raises NotFound for a pool of it, InvalidInput if one is empty or the allocator is unknown."""
        await self._check_pool(config.pool, "pool", config)
        if config.evaluation is not None:
            await self._check_pool(config.evaluation.pool, "evaluation.pool", config)
        Engine.check(config)
        record = await self.runs.create(config, now=time.time(), run_id=run_id)
        self._news.set()
        log.info("run_created", run=record.run_id, pool=config.pool, allocator=config.allocator)
        return record

    async def _check_pool(self, pool: str, field: str, config: RunConfig) -> None:
        context_length = (await self.pools.get(pool)).context_length
        if config.sampling.max_new_tokens >= context_length:
            raise InvalidInput(
                f"{config.sampling.max_new_tokens} tokens leave no room for a prompt in a context of {context_length}",
                field="sampling.max_new_tokens",
            )
        if not await self.pools.size(pool):
            raise InvalidInput(f"pool {pool} has no prompts: add some first", field=field)

    async def view_run(self, run_id: str) -> RunView:
        """One run with its ledger; raises NotFound."""
        record = await self.runs.get(run_id)
        counters = await self.runs.counters(run_id)
        engine = self._working(run_id)
        table = Table(self.redis, RunKeys(run_id), seed=record.config.seed)
        return RunView(
            record=record,
            ledger=Ledger.from_counters(counters),
            counters=counters,
            prompts=await table.sizes(),
            waiting_for=engine.phases.waiting_for() if engine else record.reason,
            staleness=engine.parts.pipeline.staleness() if engine else {},
            learner_stats=engine.parts.delivery.stats if engine else {},
            breaker=_breaker(engine.parts.circuit) if engine else None,
            idle_s=engine.idle_s if engine else None,
        )

    async def view_runs(self) -> list[RunView]:
        """All runs, oldest first."""
        return [await self.view_run(run_id) for run_id in await self.runs.ids()]

    async def view_spread(self, view: RunView) -> Mapping[float, float]:
        """A run's visited prompts at or below each edge of informativeness, estimated from some of them."""
        return await self._table_sample.spread(view.record, view.counters)

    async def pause(self, run_id: str) -> RunRecord:
        """Claim nothing new; open visits finish. Raises Conflict if the run does not claim anyway."""
        async with self._ordering:
            engine = self._working(run_id)
            if engine is not None:
                await engine.pause("paused by an operator")
            else:
                await self._order(await self.runs.get(run_id), RunState.PAUSED, "paused by an operator")
        return await self.runs.get(run_id)

    async def resume(self, run_id: str) -> RunRecord:
        """Go on after a pause; raises Conflict if the run is not paused."""
        async with self._ordering:
            engine, record = self._working(run_id), await self.runs.get(run_id)
            if record.state is not RunState.PAUSED:
                raise Conflict(f"run {run_id} is {record.state}, not paused")
            if engine is not None:
                await engine.resume("resumed by an operator")
            else:
                await self._order(record, RunState.QUEUED, "resumed by an operator")
        self._news.set()
        return await self.runs.get(run_id)

    async def raise_budget(self, run_id: str, to: Budget) -> RunRecord:
        """Raise a run's budget to the limits that `to` has.

        Raises InvalidInput for a lower one, Conflict if the run is ending. A scheduler that is at work on the run
        elsewhere takes it up within a quarter of its lease.
        """
        async with self._ordering:
            engine, record = self._working(run_id), await self.runs.get(run_id)
            transactor = engine.parts.transactor if engine else Transactor(self.redis, RunKeys(run_id), None)
            await self.runs.raise_budget(transactor, record, to, now=time.time())
            record = await self.runs.get(run_id)
            if engine is not None:
                engine.phases.take_up_budget(record)
        return record

    async def cancel(self, run_id: str) -> RunRecord:
        """End a run now: what is in flight is aborted and accounted as cancelled. Raises Conflict if it has ended."""
        async with self._ordering:
            engine, record = self._working(run_id), await self.runs.get(run_id)
            reason = "cancelled by an operator"
            if engine is not None:
                await engine.cancel(reason)
            elif (record.incarnation or await self._is_elsewhere(run_id)) and record.state not in ENDED:
                # It has begun, so it may have attempts to account for: the engine that takes it up will, or the one
                # that is at work on it in another scheduler.
                transactor = Transactor(self.redis, RunKeys(run_id), None)
                await self.runs.settle_ending(transactor, RunState.CANCELLED, reason=reason, now=time.time())
                log.info("run_ending", run=run_id, ending=RunState.CANCELLED, reason=reason)
            else:
                await self._order(record, RunState.CANCELLED, reason)
        self._news.set()
        return await self.runs.get(run_id)

    async def _is_elsewhere(self, run_id: str) -> bool:
        return await holder_of(self.redis, RunKeys(run_id)) not in ("", self._incarnation)

    async def _refuse_if_elsewhere(self, run_id: str) -> None:
        """An engine in another scheduler knows where its run stands: a state changed under it would end it."""
        if await self._is_elsewhere(run_id):
            raise NotAtWork(
                f"run {run_id} is held by another scheduler: ask that one, which /readyz tells from a standby, or wait "
                f"{self._lease_ttl_s:g} s if it has died"
            )

    async def _order(self, record: RunRecord, to: RunState, reason: str) -> None:
        """Change the state of a run whose engine is not at work; raises Conflict if it cannot go there from its own."""
        if record.state in ENDED:
            raise Conflict(f"run {record.run_id} has ended: it is {record.state}")
        await self._refuse_if_elsewhere(record.run_id)
        if (record.state, to) not in RUN_MOVES:
            raise Conflict(f"run {record.run_id} is {record.state}: it cannot become {to}")
        transactor = Transactor(self.redis, RunKeys(record.run_id), None)
        await self.runs.change_state(transactor, record.state, to, reason=reason, now=time.time())
        log.info("run_state", run=record.run_id, state=to, before=record.state, reason=reason)

    async def view_prompt(self, run_id: str, prompt_id: str) -> PromptView:
        """Why a prompt was skipped: its row and history in this run; raises NotFound."""
        record = await self.runs.get(run_id)
        await self.pools.prompts(record.config.pool, [prompt_id])
        return await Table(self.redis, RunKeys(run_id), seed=record.config.seed).view(prompt_id)

    async def prompt_pages(self, run_id: str) -> PromptPages:
        """A run's prompts to look through; raises NotFound."""
        config = (await self.runs.get(run_id)).config
        return PromptPages(self.redis, RunKeys(run_id), pool=config.pool, seed=config.seed)

    async def reinstate(self, run_id: str, prompt_id: str) -> PromptView:
        """Make a waiting or quarantined prompt claimable now; raises Conflict if it is neither."""
        view = await self.view_prompt(run_id, prompt_id)
        record = await self.runs.get(run_id)
        engine = self._working(run_id)
        fence = engine.parts.lease.fence if engine else None
        table = Table(self.redis, RunKeys(run_id), seed=record.config.seed)
        transactor = Transactor(self.redis, RunKeys(run_id), fence)
        await table.reinstate(transactor, view.prompt_id, now=time.time(), version=record.version)
        log.info("reinstated", run=run_id, prompt=prompt_id, before=view.state)
        return await table.view(prompt_id)

    def view_servers(self) -> list[ServerView]:
        """Every server of the fleet."""
        return self.fleet.view()

    async def attach(
        self, run_id: str, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]
    ) -> Attached:
        """A learner incarnation takes the run's groups from here on; Conflict while the run is queued or has ended."""
        return await (await self._at_work(run_id)).parts.delivery.attach(
            incarnation=incarnation, step=step, trained=trained
        )

    async def publish_weights(
        self, run_id: str, *, incarnation: str, step: int, path: str, digest: str
    ) -> WeightRecord:
        """Initial or restored weights become the next version; raises StaleIncarnation, InvalidInput for the path."""
        await self._checkpoints.check(self._paths.here(path))
        return await (await self._at_work(run_id)).parts.delivery.publish(
            incarnation=incarnation, step=step, path=path, digest=digest
        )

    async def offer_broadcast(self, run_id: str, *, incarnation: str, offer: BroadcastOffer) -> None:
        """A learner can broadcast its weights; raises StaleIncarnation, InvalidInput for tensors not of the model."""
        await self._checkpoints.check_offer(offer)
        (await self._heard(run_id, incarnation)).broadcasts.offer(offer)

    async def broadcast_order(self, run_id: str, *, incarnation: str, rendezvous: Rendezvous) -> BroadcastOrder | None:
        """What a learner that listens is to broadcast, within a heartbeat; raises StaleIncarnation."""
        parts = await self._heard(run_id, incarnation)
        return await parts.broadcasts.next_order(rendezvous, wait_s=self._settings.delivery.heartbeat_s)

    async def is_broadcast_over(self, run_id: str, *, incarnation: str, group: str) -> bool:
        """Whether a round is over, within a heartbeat; raises StaleIncarnation."""
        parts = await self._heard(run_id, incarnation)
        return await parts.broadcasts.is_over(group, wait_s=self._settings.delivery.heartbeat_s)

    async def _heard(self, run_id: str, incarnation: str) -> Parts:
        """The parts of a run at work, for the learner that is attached to it."""
        parts = (await self._at_work(run_id)).parts
        parts.delivery.check(incarnation)
        return parts

    async def stream(self, run_id: str, *, incarnation: str) -> AsyncIterator[Frame]:
        """Groups and batches for the learner, heartbeats between, a final frame at the end."""
        record = await self.runs.get(run_id)
        if record.state in ENDED:
            yield FinalFrame(state=record.state, reason=record.reason)
            return
        # Closed with its reader: a stream whose reader has gone must not go on waiting for batches.
        async with aclosing((await self._at_work(run_id)).parts.delivery.frames(incarnation=incarnation)) as frames:
            async for frame in frames:
                yield frame

    async def applied(
        self,
        run_id: str,
        *,
        incarnation: str,
        step: int,
        group_ids: Collection[str],
        refused: Mapping[str, int],
        path: str,
        digest: str,
        stats: Mapping[str, float],
    ) -> WeightRecord:
        """The learner has stepped on these groups; its weights become the next version. Reporting twice is harmless."""
        await self._checkpoints.check(self._paths.here(path))
        return await (await self._at_work(run_id)).parts.delivery.applied(
            incarnation=incarnation,
            step=step,
            group_ids=group_ids,
            refused=refused,
            path=path,
            digest=digest,
            stats=stats,
        )

    async def checkpointed(self, run_id: str, *, incarnation: str, step: int) -> None:
        """The learner has saved `step`: everything applied up to it is trained. Reporting twice is harmless."""
        engine = self._working(run_id)
        if engine is None and (await self.runs.get(run_id)).state in ENDED:
            return
        await (await self._at_work(run_id)).parts.delivery.checkpointed(incarnation=incarnation, step=step)

    async def view_weights(self, run_id: str, *, count: int = 20, before: int | None = None) -> list[WeightRecord]:
        """The newest weight versions (with `before`, of those older than it), newest first; raises NotFound."""
        await self.runs.get(run_id)
        return await recent_versions(self.redis, RunKeys(run_id), count=count, before=before)

    async def evaluate(
        self,
        run_id: str,
        *,
        pool: str,
        num_rollouts: int,
        version: int | None,
        measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS,
        target: str = DEFAULT_TARGET,
    ) -> EvaluationRecord:
        """Measure the policy on another pool at a pinned version (None: whichever is live when it starts).

        Raises NotFound for the pool, InvalidInput if it is empty or the target has no place for an answer, Conflict if
        the version is no longer to be had.
        """
        evaluator = (await self._at_work(run_id)).parts.evaluator
        return await evaluator.request(
            pool=pool, num_rollouts=num_rollouts, version=version, measure=measure, target=target
        )

    async def view_evaluation(self, run_id: str, evaluation_id: str) -> EvaluationRecord:
        """One evaluation; raises NotFound."""
        return await evaluation(self.redis, RunKeys(run_id), evaluation_id)

    async def view_evaluations(self, run_id: str) -> list[EvaluationRecord]:
        """Every evaluation of a run, oldest first; raises NotFound."""
        await self.runs.get(run_id)
        return await evaluations(self.redis, RunKeys(run_id))

    async def is_ready(self) -> str:
        """Empty if the scheduler can work, else what is missing, or whom it stands by for."""
        return await why_silent(self.redis) or (f"standby: {self._standby}" if self._standby else "")

    def _working(self, run_id: str) -> Engine | None:
        return self._engine if self._engine is not None and self._engine.run_id == run_id else None

    async def _at_work(self, run_id: str) -> Engine:
        """The engine at work on a run; Conflict if the run has ended, NotAtWork if its engine may yet begin."""
        engine = self._working(run_id)
        if engine is not None and engine.has_taken_up:
            return engine
        record = await self.runs.get(run_id)
        if record.state in ENDED:
            raise Conflict(f"run {run_id} has ended: it is {record.state}")
        other = self._engine is not None and engine is None
        owner = f"run {self._engine.run_id} owns the fleet" if self._engine and other else "it is being taken up"
        raise NotAtWork(f"run {run_id} is not at work: {owner}; try again later")


def _breaker(circuit: Circuit) -> BreakerView:
    return BreakerView(breaker=circuit.breaker, retry_in_s=circuit.retry_in_s)


def _any_of(connect: Connect) -> ConnectNamed:
    async def connect_named(url: str) -> ServerClient:
        return connect(url)

    return connect_named
