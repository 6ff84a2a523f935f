"""The engine of one run: claim, pilot, decide, commit, publish, until its steps or its budget are done.

Owns: the long loops of a run under its lease. Never computes a decision itself and never speaks HTTP. Invariants: every
change is made under the lease's fence; a run that is stopped at any moment is resumed from Redis with nothing lost that
was held; a run ends only when its ledger has no open attempts.
"""

import asyncio
import time

import structlog

from scheduler.core.drain import Drain
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.run import RunConfig
from scheduler.core.types import Prompt, Rollout
from scheduler.engine.assembly import Parts, Surroundings, allocator_of, assemble
from scheduler.engine.phases import Phases
from scheduler.frames import FinalFrame
from scheduler.state.groups import GroupStatus
from scheduler.state.leases import Lease
from scheduler.state.runs import RunRecord
from scheduler.state.table import Event, Row
from scheduler.state.versions import WeightRecord, recent_versions
from scheduler.state.visits import Landing, Visit

log = structlog.get_logger(__name__)


class Engine:
    """One run at work; build it with `create`, `run` returns when the run has ended."""

    def __init__(self, around: Surroundings, record: RunRecord) -> None:
        self._around = around
        self.run_id = record.run_id
        self._pool_sequence = record.pool_sequence
        self._ended = asyncio.Event()
        self._visit_tasks: set[asyncio.Task[None]] = set()
        self._accepting = True
        self._last_progress = time.monotonic()
        self._cancelled = ""
        self._parts: Parts
        self._phases: Phases
        self._tasks: asyncio.TaskGroup

    @classmethod
    async def create(cls, around: Surroundings, *, lease: Lease, record: RunRecord) -> "Engine":
        """An engine ready to run; raises NotFound if a pool of the run is gone."""
        engine = cls(around, record)
        engine._parts = await assemble(
            around,
            lease,
            record,
            start_visit=engine._start_visit,
            on_weights=engine._on_weights,
            on_live=engine._on_live,
        )
        engine._parts.pipeline.set_versions(policy=record.version)
        engine._phases = Phases(engine._parts, around.fleet, record)
        return engine

    @staticmethod
    def check(config: RunConfig) -> None:
        """Raise InvalidInput if the run's allocator cannot be built."""
        allocator_of(config)

    @property
    def parts(self) -> Parts:
        """The run's parts, for its API."""
        return self._parts

    @property
    def phases(self) -> Phases:
        """Where the run stands."""
        return self._phases

    async def run(self) -> None:
        """Work until the run has ended.

        Consumes: the pool, the fleet, the learner's reports. Produces: groups and the ledger. Waits for: each of them.
        Unblocked by: any of them, an operator, the end of the budget. Raises FenceLost if another scheduler took over.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._recover()
            loops = [
                tasks.create_task(self._keep_lease(), name=f"lease-{self.run_id}"),
                tasks.create_task(self._parts.weights.run(), name=f"weights-{self.run_id}"),
                tasks.create_task(self._parts.evaluator.run(), name=f"evaluate-{self.run_id}"),
                tasks.create_task(self._tend(), name=f"tend-{self.run_id}"),
            ]
            await self._ended.wait()
            for task in loops:
                task.cancel()
        log.info("run_ended", run=self.run_id, state=self._phases.state, reason=self._phases.reason)

    async def pause(self, reason: str) -> None:
        """Claim nothing new."""
        await self._phases.change(RunState.PAUSED, reason)

    async def resume(self, reason: str) -> None:
        """Claim again."""
        await self._phases.change(RunState.WAITING_WEIGHTS, reason)
        self._parts.pipeline.wake()

    async def cancel(self, reason: str) -> None:
        """End the run: abort what is in flight, let the learner save what it has applied, account for the rest."""
        self._cancelled = reason
        if self._phases.state is not RunState.DRAINING:
            await self._phases.drain(Drain(end=RunState.CANCELLED, reason=reason))
        self._parts.pipeline.wake()

    async def quiesce(self, *, grace_s: float) -> None:
        """Before a stop: claim nothing more and give what is in flight a while to come back."""
        self._accepting = False
        if self._visit_tasks:
            await asyncio.wait(self._visit_tasks, timeout=grace_s)

    # Taking up what is there.

    async def _recover(self) -> None:
        """Take up what an earlier incarnation left: its requests are aborted, its half-done groups go on."""
        parts = self._parts
        await self._around.fleet.own(self.run_id)
        await parts.evaluator.recover()
        parts.pipeline.set_groups(await parts.groups.entries())
        newest = await recent_versions(self._around.redis, parts.keys, count=1)
        if newest:
            await parts.weights.announce(newest[0])
        await self._phases.start()
        for visit, held in await parts.visits.open_visits():
            resumed = await parts.visits.resume(visit, fence=parts.lease.fence)
            [prompt] = await parts.pools.prompts(parts.config.pool, [visit.prompt_id])
            row = (await parts.table.rows([visit.prompt_id])).get(visit.prompt_id)
            parts.pipeline.num_visits += 1
            self._start_visit(resumed, prompt, row or parts.admission.fresh_row(), held)
            log.info("visit_resumed", run=self.run_id, prompt=visit.prompt_id, held=len(held))

    def _start_visit(self, visit: Visit, prompt: Prompt, row: Row, held: tuple[Rollout, ...] = ()) -> None:
        work = self._parts.runner.run(visit, prompt, row, self._parts.admission.allocator, held)
        task = self._tasks.create_task(work, name=f"visit-{visit.visit_id}")
        self._visit_tasks.add(task)
        task.add_done_callback(self._visit_done)

    def _visit_done(self, task: asyncio.Task[None]) -> None:
        self._visit_tasks.discard(task)
        self._last_progress = time.monotonic()

    # The long loops.

    async def _keep_lease(self) -> None:
        """Produces: a lease that does not run out. Waits for: a quarter of its life. Raises FenceLost if taken over."""
        while True:
            await asyncio.sleep(self._parts.lease.ttl_s / 4)
            await self._parts.lease.renew()

    async def _tend(self) -> None:
        """Claim, return, drain, end.

        Consumes: the pipeline's changes. Produces: claims and the run's phases. Waits for: a change, `tend_s` at most.
        """
        while not self._ended.is_set():
            moment = self._parts.pipeline.moment
            await self._phases.follow_weights()
            if self._cancelled:
                await self._wind_up()
                return
            if self._phases.state is RunState.RUNNING and self._accepting:
                await self._admit()
            await self._phases.drain_if_due()
            if self._phases.state is RunState.DRAINING:
                await self._finish_if_done()
            self._watch_for_stall()
            await self._parts.pipeline.changed(moment, timeout_s=self._around.settings.tend_s)

    async def _admit(self) -> None:
        parts = self._parts
        await self._take_in_new_prompts()
        await parts.table.return_due(parts.transactor, parts.pipeline.policy_version)
        if parts.config.max_steps is not None:
            steps_left = parts.config.max_steps - parts.delivery.step
            parts.pipeline.slots_left = max(0, steps_left * parts.config.batch_size)
        if await parts.admission.admit():
            await self._phases.claimed()

    async def _take_in_new_prompts(self) -> None:
        parts = self._parts
        async for page in parts.pools.ids_after(parts.config.pool, self._pool_sequence):
            self._pool_sequence = page[-1][1]
            await parts.table.seed_prompts(parts.transactor, [prompt_id for prompt_id, _ in page], self._pool_sequence)

    async def _finish_if_done(self) -> None:
        """While draining: end the stream when all is delivered, and the run when all of it is saved and measured."""
        parts, delivery = self._parts, self._parts.delivery
        if parts.pipeline.num_visits:
            return
        delivery.sourceless = True
        published = parts.pipeline.published()
        steps_done = parts.config.max_steps is not None and delivery.step >= parts.config.max_steps
        if published and steps_done:
            await delivery.drop(published, Outcome.SURPLUS)
        if parts.pipeline.published():
            return
        if delivery.last_word is None:
            delivery.last_word = FinalFrame(state=self._phases.state, reason=self._phases.reason)
            parts.pipeline.wake()
        if not parts.pipeline.groups and delivery.checkpointed_step >= delivery.step and parts.evaluator.is_idle():
            if await parts.evaluator.plan_last(parts.pipeline.policy_version):
                return
            await self._phases.end()
            self._ended.set()

    def _watch_for_stall(self) -> None:
        idle_s = time.monotonic() - self._last_progress
        if idle_s < self._around.settings.stall_s or self._phases.state is RunState.PAUSED:
            return
        self._last_progress = time.monotonic()
        log.warning("stalled", run=self.run_id, idle_s=round(idle_s), waiting_for=self._phases.waiting_for())

    # Weights.

    async def _on_weights(self, record: WeightRecord) -> None:
        self._last_progress = time.monotonic()
        await self._parts.weights.announce(record)
        await self._parts.evaluator.plan(record)

    def _on_live(self) -> None:
        self._parts.pipeline.set_versions(live=self._parts.weights.live_version)

    # The end of a cancelled run.

    async def _wind_up(self) -> None:
        """Cancel what is under way, and wait a while for the learner to save what it has applied."""
        tasks = list(self._visit_tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._around.fleet.abort_all()
        await self._cancel_visits()
        parts, delivery = self._parts, self._parts.delivery
        if parts.pipeline.published():
            await delivery.drop(parts.pipeline.published(), Outcome.CANCELLED)
        delivery.last_word = FinalFrame(state=RunState.CANCELLED, reason=self._cancelled)
        parts.pipeline.wake()
        patience = time.monotonic() + self._around.settings.end_grace_s
        while parts.pipeline.groups and time.monotonic() < patience:
            await parts.pipeline.changed(parts.pipeline.moment, timeout_s=1.0)
        applied = [entry for entry in parts.pipeline.groups.values() if entry.status is GroupStatus.APPLIED]
        if applied:
            await delivery.drop(applied, Outcome.ROLLED_BACK)
        await self._phases.change(RunState.CANCELLED, self._cancelled)
        self._ended.set()

    async def _cancel_visits(self) -> None:
        parts = self._parts
        for visit, _ in await parts.visits.open_visits():
            for stage, count in visit.in_flight.items():
                if count:
                    visit = await parts.visits.land(visit, Landing(stage=stage, cancelled=count), held=())
            rows = await parts.table.rows([visit.prompt_id])
            event = Event(
                at=time.time(), version=parts.pipeline.policy_version, what="cancelled", reason=self._cancelled
            )
            await parts.visits.settle(
                visit,
                Outcome.CANCELLED,
                row=rows.get(visit.prompt_id) or parts.admission.fresh_row(),
                state=PromptState.READY,
                event=event,
            )
