"""Evaluations of one run: the policy measured on a held-out pool at one weight version.

Owns: the queue of evaluations. Never feeds the informativeness table. Invariants: one evaluation at a time, with its
version pinned from its first attempt to its last; a failed reward is not a wrong answer.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from scheduler.core.errors import BudgetExhausted, Conflict, InvalidInput
from scheduler.core.evaluation import DEFAULT_TARGET, EvaluationMeasure, EvaluationState, check_target
from scheduler.core.run import EvaluationPlan
from scheduler.engine.measurement import Measurement
from scheduler.engine.measures import Measure
from scheduler.state.connection import Redis
from scheduler.state.evaluations import EvaluationRecord, EvaluationStore, evaluations
from scheduler.state.keys import RunKeys
from scheduler.state.pools import PoolStore
from scheduler.state.versions import VersionStore, WeightRecord
from scheduler.weights import WeightPusher

log = structlog.get_logger(__name__)


class Evaluator:
    """Takes requests and works them off in order."""

    def __init__(
        self,
        redis: "Redis",
        keys: RunKeys,
        store: EvaluationStore,
        pools: PoolStore,
        weights: WeightPusher,
        versions: VersionStore,
        *,
        plan: EvaluationPlan | None,
        measure_of: Callable[[EvaluationRecord], Awaitable[Measure]],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._store = store
        self._pools = pools
        self._weights = weights
        self._versions = versions
        self._plan = plan
        self._measure_of = measure_of
        self._queue: asyncio.Queue[EvaluationRecord] = asyncio.Queue()
        self._open = 0

    async def request(
        self,
        *,
        pool: str,
        num_rollouts: int,
        version: int | None,
        purpose: str = "",
        measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS,
        target: str = DEFAULT_TARGET,
    ) -> EvaluationRecord:
        """Queue an evaluation; with LIKELIHOOD it makes one attempt per prompt.

        Raises NotFound for the pool, InvalidInput if it is empty or for the target, Conflict for a version that is
        gone or not out yet.
        """
        check_target(target, "target")
        await self._check_version(version)
        await self._pools.get(pool)
        num_prompts = await self._pools.size(pool)
        if not num_prompts:
            raise InvalidInput(f"pool {pool} has no prompts: add some first", field="pool")
        record = EvaluationRecord(
            evaluation_id=f"eval-{uuid.uuid4().hex[:8]}",
            pool=pool,
            num_rollouts=1 if measure is EvaluationMeasure.LIKELIHOOD else num_rollouts,
            num_prompts=num_prompts,
            created_at=time.time(),
            measure=measure,
            target=target,
            version=version,
            purpose=purpose,
        )
        await self._store.put(record)
        log.info("evaluation_queued", **self._about(record))
        self._enqueue(record)
        return record

    async def _check_version(self, version: int | None) -> None:
        if version is None:
            return
        if version < self._weights.live_version:
            gone = f"weight version {version} is gone: {self._weights.live_version} is live"
            raise Conflict(gone, field="version")
        if await self._versions.get(version) is None:
            raise Conflict(f"weight version {version} is not published yet", field="version")

    async def recover(self) -> int | None:
        """Take up what a dead incarnation left: its attempts in flight are lost, its evaluations go on.

        Returns the version that one was under way on, if one was.
        """
        await self._store.lose_in_flight()
        version = None
        for record in await self._unfinished():
            if record.state is EvaluationState.RUNNING:
                version = record.version
            self._enqueue(record)
        return version

    async def cancel(self, reason: str) -> None:
        """The run was cancelled, `run` with it: what is unfinished fails with the reason."""
        await self._store.cancel_in_flight()
        for record in await self._unfinished():
            await self._store.put(replace(record, state=EvaluationState.FAILED, reason=reason))
            log.info("evaluation_failed", **self._about(record))

    async def _unfinished(self) -> list[EvaluationRecord]:
        made = await evaluations(self._redis, self._keys)
        return [record for record in made if record.state in (EvaluationState.WAITING, EvaluationState.RUNNING)]

    def is_idle(self) -> bool:
        """Whether no evaluation is queued or running."""
        return not self._open

    async def plan(self, weights: WeightRecord) -> None:
        """Queue what the run's plan asks for at these weights: the first evaluation, or one in between."""
        plan = self._plan
        if plan is None:
            return
        if weights.step == 0:
            await self._once("before", plan, plan.rollouts, weights.version)
        elif plan.every_steps is not None and weights.step % plan.every_steps == 0:
            # Any version will do in between: waiting for one in particular could miss it.
            await self._once(f"step {weights.step}", plan, plan.rollouts_between, None)

    async def plan_last(self, version: int) -> bool:
        """Queue the last evaluation of the run's plan; False if there is none to make or it was made."""
        if self._plan is None or not version:
            return False
        return await self._once("after", self._plan, self._plan.rollouts, version)

    async def _once(self, purpose: str, plan: EvaluationPlan, num_rollouts: int, version: int | None) -> bool:
        made = await evaluations(self._redis, self._keys)
        if any(record.purpose == purpose for record in made):
            return False
        await self.request(
            pool=plan.pool,
            num_rollouts=num_rollouts,
            version=version,
            purpose=purpose,
            measure=plan.measure,
            target=plan.target,
        )
        return True

    def _enqueue(self, record: EvaluationRecord) -> None:
        self._open += 1
        self._queue.put_nowait(record)

    async def run(self) -> None:
        """Consumes: requests. Produces: results. Waits for: its version to be live. Unblocked by: weight pushes."""
        while True:
            record = await self._queue.get()
            try:
                await self._evaluate(record)
            except (BudgetExhausted, InvalidInput) as error:
                current = await self._current(record)
                await self._store.put(replace(current, state=EvaluationState.FAILED, reason=str(error)))
                # The reason may quote a prompt's answer: the evaluation has it, a log does not.
                log.info("evaluation_failed", **self._about(record))
            self._open -= 1

    async def _current(self, record: EvaluationRecord) -> EvaluationRecord:
        found = await evaluations(self._redis, self._keys)
        return next((other for other in found if other.evaluation_id == record.evaluation_id), record)

    async def _evaluate(self, record: EvaluationRecord) -> None:
        async with self._weights.pinned(record.version) as version:
            weights = await self._versions.get(version)
            step = weights.step if weights is not None else 0
            record = replace(record, state=EvaluationState.RUNNING, version=version, step=step)
            await self._store.put(record)
            log.info("evaluation_running", **self._about(record))
            measurement = Measurement(self._store, await self._measure_of(record), record)
            async for page in self._pools.ids_after(record.pool, 0):
                wanted = [prompt_id for prompt_id, _ in page if prompt_id not in record.results]
                prompts = await self._pools.prompts(record.pool, wanted)
                await measurement.measure(prompts)
            done = replace(measurement.record, state=EvaluationState.DONE)
            await self._store.put(done)
        log.info("evaluated", **self._about(done))

    def _about(self, record: EvaluationRecord) -> dict[str, object]:
        """What every line about an evaluation says."""
        return {
            "run": self._keys.run_id,
            "evaluation": record.evaluation_id,
            "pool": record.pool,
            "version": record.version,
            "accuracy": record.accuracy,
            "judged": record.judged,
        }
