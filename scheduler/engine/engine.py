"""The engine of one run: claim, pilot, decide, commit, publish, until its steps or its budget are done.

Owns: the long loops of a run under its lease. Never computes a decision itself and never speaks HTTP. Invariants: every
change is made under the lease's fence; a run that is stopped at any moment is resumed from Redis with nothing lost that
was held; a run ends only when its ledger has no open attempts.
"""

import asyncio
import time

import structlog

from scheduler.core.course import CourseEvent, Turn
from scheduler.core.errors import FenceLost, InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.core.run import RunConfig, RunMode
from scheduler.core.types import Prompt, Rollout
from scheduler.engine.assembly import Parts, Surroundings, allocator_of, assemble
from scheduler.engine.cancellation import cancel_visits
from scheduler.engine.phases import Phases
from scheduler.engine.stall import Watchdog
from scheduler.fleet import Share
from scheduler.state.groups import GroupStatus
from scheduler.state.leases import Lease
from scheduler.state.records import Attempt
from scheduler.state.row import Row
from scheduler.state.runs import RunRecord
from scheduler.state.versions import WeightRecord, recent_versions
from scheduler.state.visit import Visit

log = structlog.get_logger(__name__)

PROFILER = "profile"
"""Who publishes the weights of a profile, in a learner's place."""
_VERSIONS_TAKEN_UP = 64
_TAKEN_IN_AT_ONCE = 1000
_SAFE_SHARE_OF_LEASE = 0.75
"""A lease that was not renewed for this share of its life counts as lost: what is under way stops before it ends."""


class Engine:
    """One run at work; build it with `create`, `run` returns when the run has ended."""

    def __init__(self, around: Surroundings, share: Share, record: RunRecord) -> None:
        self._around = around
        self._share = share
        self.run_id = record.run_id
        self.has_taken_up = False
        """Whether it knows what an earlier incarnation left: before that, nobody is to change any of it."""
        self._sequences = dict(record.pool_sequences) or {record.config.pool: record.pool_sequence}
        """Prompts of each pool up to these numbers are in the table."""
        self._ended = asyncio.Event()
        self._visit_tasks: set[asyncio.Task[None]] = set()
        self._accepting = True
        self._parts: Parts
        self._phases: Phases
        self._watchdog: Watchdog
        self._tasks: asyncio.TaskGroup
        self._evaluating: asyncio.Task[None]

    @classmethod
    async def create(cls, around: Surroundings, *, share: Share, lease: Lease, record: RunRecord) -> "Engine":
        """An engine ready to run on its share of the fleet; raises NotFound if a pool of the run is gone."""
        engine = cls(around, share, record)
        engine._parts = await assemble(
            around,
            share,
            lease,
            record,
            start_visit=engine._start_visit,
            on_weights=engine._on_weights,
            on_live=engine._on_live,
        )
        engine._phases = Phases(engine._parts, share, record)
        engine._watchdog = Watchdog(engine._parts, engine._phases, patience_s=around.settings.stall_s)
        return engine

    @property
    def idle_s(self) -> float:
        """Seconds since a visit ended or new weights came."""
        return self._watchdog.idle_s

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

        Consumes: the pool, servers, the learner's reports. Produces: groups and the ledger. Waits for: each of them.
        Unblocked by: any of them, an operator, the end of the budget. Raises FenceLost if another scheduler took over.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            keeping = tasks.create_task(self._keep_lease(), name=f"lease-{self.run_id}")
            await self._recover()
            if self._phases.state in ENDED:
                keeping.cancel()
                return
            self._evaluating = tasks.create_task(self._parts.evaluator.run(), name=f"evaluate-{self.run_id}")
            loops = [
                keeping,
                self._evaluating,
                tasks.create_task(self._parts.weights.run(), name=f"weights-{self.run_id}"),
                tasks.create_task(self._tend(), name=f"tend-{self.run_id}"),
            ]
            await self._ended.wait()
            for task in loops:
                task.cancel()

    async def pause(self, reason: str) -> None:
        """Claim nothing new."""
        await self._phases.pause(reason)

    async def resume(self, reason: str) -> None:
        """Claim again."""
        await self._phases.resume(reason)
        self._parts.pipeline.wake()

    async def cancel(self, reason: str) -> None:
        """End the run: abort what is in flight, let the learner save what it has applied, account for the rest."""
        await self._phases.cancel(reason)
        self._parts.pipeline.wake()

    async def quiesce(self, *, grace_s: float) -> None:
        """Before a stop: claim nothing more and give what is in flight a while to come back."""
        self._accepting = False
        pipeline, patience = self._parts.pipeline, time.monotonic() + grace_s
        # Survivors that are held wait for the learner; a successor takes them up where they are.
        while pipeline.num_visits > len(pipeline.held) and time.monotonic() < patience:
            await pipeline.changed(pipeline.moment, timeout_s=patience - time.monotonic())

    # Taking up what is there.

    async def _recover(self) -> None:
        """Take up what an earlier incarnation left: its requests are aborted, its half-done groups go on."""
        parts = self._parts
        await self._share.take_over()
        event = CourseEvent(at=time.time(), what=Turn.SCHEDULER)
        await parts.runs.remember(parts.transactor, event)
        log.info("run_taken_up", run=self.run_id, fence=parts.lease.fence, state=self._phases.state)
        await parts.rule.recover()
        measured = await parts.evaluator.recover()
        parts.pipeline.change(put=await parts.groups.entries())
        versions = await recent_versions(self._around.redis, parts.keys, count=_VERSIONS_TAKEN_UP)
        await parts.weights.recover(versions, first=measured)
        if versions:
            await parts.evaluator.plan(versions[0])
        await self._phases.start()
        if not self._phases.is_cancelled:
            await self._profile()
        self.has_taken_up = True
        if self._phases.is_cancelled or self._phases.state in ENDED:
            return
        for visit, held in await parts.visits.open_visits():
            resumed = await parts.visits.resume(visit, fence=parts.lease.fence)
            [prompt] = await parts.pools.prompts([visit.prompt_id])
            row = (await parts.table.rows([visit.prompt_id])).get(visit.prompt_id)
            parts.pipeline.num_visits += 1
            attempts = await parts.visits.attempts(visit.visit_id)
            self._start_visit(resumed, prompt, row or parts.admission.fresh_row(), held, attempts)
            log.info("visit_resumed", run=self.run_id, prompt=visit.prompt_id, visit=visit.visit_id, held=len(held))

    async def _profile(self) -> None:
        """A profile has no learner: what it samples with is published here, once; it fails where that is gone."""
        config, delivery = self._parts.config, self._parts.delivery
        if config.mode is not RunMode.PROFILE or config.weights is None:
            return
        await delivery.attach(incarnation=PROFILER, step=0, trained={})
        try:
            await delivery.publish(incarnation=PROFILER, step=0, path=config.weights, digest="")
        except InvalidInput as error:
            # Nothing was sampled yet, so nothing is left to account for.
            await self._phases.fail(str(error))

    def _start_visit(
        self,
        visit: Visit,
        prompt: Prompt,
        row: Row,
        held: tuple[Rollout, ...] = (),
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        work = self._parts.runner.run(visit, prompt, row, held, attempts)
        task = self._tasks.create_task(work, name=f"visit-{visit.visit_id}")
        self._visit_tasks.add(task)
        task.add_done_callback(self._visit_done)

    def _visit_done(self, task: asyncio.Task[None]) -> None:
        self._visit_tasks.discard(task)
        self._watchdog.progressed()

    # The long loops.

    async def _keep_lease(self) -> None:
        """Produces: a lease that does not run out, orders given elsewhere. Waits for: a quarter of its life.

        Raises FenceLost if another scheduler took it, or if Redis does not answer until it is about to end.
        """
        lease, renewed = self._parts.lease, time.monotonic()
        while True:
            await asyncio.sleep(lease.ttl_s / 4)
            asked = time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, renewed + _SAFE_SHARE_OF_LEASE * lease.ttl_s - asked)):
                    await lease.renew()
            except TimeoutError as exc:
                raise FenceLost(f"run {self.run_id}: the lease could not be renewed in time") from exc
            renewed = asked
            await self._follow_orders()

    async def _follow_orders(self) -> None:
        """A run may be cancelled, or its budget raised, through another scheduler, which can only write it down."""
        record = await self._parts.runs.get(self.run_id)
        self._phases.take_up_budget(record)
        if record.ending is RunState.CANCELLED and self.has_taken_up and not self._phases.is_cancelled:
            await self.cancel(record.reason)

    async def _tend(self) -> None:
        """Claim, return, drain, end.

        Consumes: the pipeline's changes. Produces: claims and the run's phases. Waits for: a change, `tend_s` at most.
        """
        while not self._ended.is_set():
            moment = self._parts.pipeline.moment
            self._parts.flights.look(self._parts.pipeline.next_batch_version, time.monotonic())
            await self._phases.follow_weights()
            if self._phases.is_cancelled:
                await self._wind_up()
                return
            if self._phases.state is RunState.RUNNING and self._accepting:
                await self._admit()
            await self._phases.drain_if_due()
            await self._finish_if_done()
            await self._watchdog.look()
            await self._parts.records.trim(self._parts.transactor)
            await self._parts.completions.trim(self._parts.transactor)
            await self._parts.pipeline.changed(moment, timeout_s=self._around.settings.tend_s)

    async def _admit(self) -> None:
        parts = self._parts
        await self._take_in_new_prompts()
        await parts.rule.follow(parts.pipeline.step, version=parts.pipeline.policy_version)
        await parts.admission.return_due()
        if await parts.admission.admit():
            await self._phases.claimed()
        idle = parts.admission.out_of_prompts and not parts.pipeline.num_visits
        self._allow_short_batches(idle and parts.config.partial_batches)

    def _allow_short_batches(self, allowed: bool) -> None:
        if allowed != self._parts.batches.may_be_short:
            self._parts.batches.may_be_short = allowed
            self._parts.pipeline.wake()

    async def _take_in_new_prompts(self) -> None:
        parts = self._parts
        for pool in parts.config.mixture.names:
            while page := await parts.pools.page(pool, self._sequences.get(pool, 0), count=_TAKEN_IN_AT_ONCE):
                sequence = self._sequences[pool] = page[-1][1]
                await parts.table.seed_prompts(parts.transactor, [name for name, _ in page], sequence, pool)
                log.info("prompts_taken_in", run=self.run_id, pool=pool, num_prompts=len(page), sequence=sequence)

    async def _finish_if_done(self) -> None:
        """Nothing new is claimed: end the stream when all is delivered, and the run when it is saved and measured."""
        parts, delivery = self._parts, self._parts.delivery
        if not self._phases.is_over:
            return
        self._allow_short_batches(True)
        await delivery.drop_surplus()
        if parts.pipeline.published() or not self._phases.is_over:
            return
        self._say_last()
        saved = not parts.pipeline.groups and delivery.checkpointed_step >= delivery.step
        if not saved or self._phases.state is not RunState.DRAINING or not parts.evaluator.is_idle():
            return
        if not await parts.evaluator.plan_last(parts.pipeline.policy_version):
            await self._phases.end()
            self._ended.set()

    def _say_last(self) -> None:
        if self._parts.delivery.last_word is None:
            self._parts.delivery.last_word = self._phases.last_word()
            self._parts.pipeline.wake()

    # Weights.

    async def _on_weights(self, record: WeightRecord) -> None:
        self._watchdog.progressed()
        await self._parts.weights.announce(record)
        await self._parts.evaluator.plan(record)

    def _on_live(self) -> None:
        self._parts.pipeline.set_live(self._parts.weights.live_version)

    # The end of a cancelled run.

    async def _wind_up(self) -> None:
        """Cancel what is under way, and wait a while for the learner to save what it has applied."""
        parts, delivery = self._parts, self._parts.delivery
        await self._stop(*self._visit_tasks, self._evaluating)
        await parts.evaluator.cancel(self._phases.reason)
        await self._share.abort_all()
        await cancel_visits(parts, self._phases.reason)
        patience = time.monotonic() + self._around.settings.end_grace_s
        while True:
            moment = parts.pipeline.moment
            await delivery.drop(GroupStatus.PUBLISHED, Outcome.CANCELLED)
            self._say_last()
            if not parts.pipeline.groups or time.monotonic() >= patience:
                break
            await parts.pipeline.changed(moment, timeout_s=patience - time.monotonic())
        await delivery.drop(GroupStatus.APPLIED, Outcome.ROLLED_BACK)
        await self._phases.end()
        self._ended.set()

    async def _stop(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
