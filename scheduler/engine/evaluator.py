"""Evaluations of one run: the policy measured on a held-out pool at one weight version.

Owns: the queue of evaluations and their attempts. Never feeds the informativeness table. Invariants: one evaluation at
a time, with its version pinned from its first attempt to its last; a failed reward is not a wrong answer.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from scheduler.core.errors import BudgetExhausted, InvalidInput, PilotCommitError
from scheduler.core.run import EvaluationPlan
from scheduler.core.types import Prompt, Stage
from scheduler.engine.attempts import Sender
from scheduler.state.connection import Redis
from scheduler.state.evaluations import (
    EvaluationLanding,
    EvaluationRecord,
    EvaluationState,
    EvaluationStore,
    Measured,
    evaluations,
)
from scheduler.state.keys import RunKeys
from scheduler.state.pools import PoolStore
from scheduler.state.versions import VersionStore, WeightRecord
from scheduler.weights import WeightPusher

log = structlog.get_logger(__name__)

_PROMPTS_AT_ONCE = 64


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
        sender_of: Callable[[str], Awaitable[Sender]],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._store = store
        self._pools = pools
        self._weights = weights
        self._versions = versions
        self._plan = plan
        self._sender_of = sender_of
        self._queue: asyncio.Queue[EvaluationRecord] = asyncio.Queue()
        self._open = 0

    async def request(
        self, *, pool: str, num_rollouts: int, version: int | None, purpose: str = ""
    ) -> EvaluationRecord:
        """Queue an evaluation; raises NotFound for the pool, InvalidInput if it is empty."""
        await self._pools.get(pool)
        num_prompts = await self._pools.size(pool)
        if not num_prompts:
            raise InvalidInput(f"pool {pool} has no prompts: add some first", field="pool")
        record = EvaluationRecord(
            evaluation_id=f"eval-{uuid.uuid4().hex[:8]}",
            pool=pool,
            num_rollouts=num_rollouts,
            num_prompts=num_prompts,
            created_at=time.time(),
            version=version,
            purpose=purpose,
        )
        await self._store.put(record)
        self._enqueue(record)
        return record

    async def recover(self) -> None:
        """Take up what a dead incarnation left: its attempts in flight are lost, its evaluations go on."""
        await self._store.lose_in_flight()
        for record in await evaluations(self._redis, self._keys):
            if record.state in (EvaluationState.WAITING, EvaluationState.RUNNING):
                self._enqueue(record)

    def is_idle(self) -> bool:
        """Whether no evaluation is queued or running."""
        return not self._open

    async def plan(self, weights: WeightRecord) -> None:
        """Queue what the run's plan asks for at these weights: the first evaluation, or one in between."""
        plan = self._plan
        if plan is None:
            return
        if weights.step == 0:
            await self._once("before", plan.pool, plan.rollouts, weights.version)
        elif plan.every_steps is not None and weights.step % plan.every_steps == 0:
            # Any version will do in between: waiting for one in particular could miss it.
            await self._once(f"step {weights.step}", plan.pool, plan.rollouts_between, None)

    async def plan_last(self, version: int) -> bool:
        """Queue the last evaluation of the run's plan; False if there is none to make or it was made."""
        if self._plan is None or not version:
            return False
        return await self._once("after", self._plan.pool, self._plan.rollouts, version)

    async def _once(self, purpose: str, pool: str, num_rollouts: int, version: int | None) -> bool:
        made = await evaluations(self._redis, self._keys)
        if any(record.purpose == purpose for record in made):
            return False
        await self.request(pool=pool, num_rollouts=num_rollouts, version=version, purpose=purpose)
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
            except PilotCommitError as error:
                log.warning("evaluation_failed", run=self._keys.run_id, id=record.evaluation_id, reason=str(error))
                current = await self._current(record)
                await self._store.put(replace(current, state=EvaluationState.FAILED, reason=str(error)))
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
            measurement = _Measurement(self._store, await self._sender_of(record.pool), record)
            async for page in self._pools.ids_after(record.pool, 0):
                wanted = [prompt_id for prompt_id, _ in page if prompt_id not in record.results]
                prompts = await self._pools.prompts(record.pool, wanted)
                await measurement.measure(prompts)
            done = replace(measurement.record, state=EvaluationState.DONE)
            await self._store.put(done)
        log.info(
            "evaluated",
            run=self._keys.run_id,
            id=done.evaluation_id,
            version=version,
            correct=done.correct,
            judged=done.judged,
        )


class _Measurement:
    """One evaluation under way; results are written prompt by prompt."""

    def __init__(self, store: EvaluationStore, sender: Sender, record: EvaluationRecord) -> None:
        self._store = store
        self._sender = sender
        self.record = record
        self._room = asyncio.Semaphore(_PROMPTS_AT_ONCE)
        self._write = asyncio.Lock()

    async def measure(self, prompts: list[Prompt]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for prompt in prompts:
                    tasks.create_task(self._prompt(prompt), name=f"evaluate-{prompt.prompt_id}")
        except* BudgetExhausted as errors:
            raise BudgetExhausted(f"the evaluation cap is used up: {errors.exceptions[0]}") from errors

    async def _prompt(self, prompt: Prompt) -> None:
        async with self._room:
            measured = Measured(correct=0, judged=0)
            missing = self.record.num_rollouts
            for attempt in range(self._sender.config.max_attempts):
                await self._store.launch(missing)
                judged = await self._sender.make(
                    prompt,
                    f"{self.record.evaluation_id}-{prompt.prompt_id}",
                    Stage.EVAL,
                    missing,
                    round_number=self.record.version or 0,
                    first=attempt * self.record.num_rollouts,
                )
                missing = len(judged.lost)
                measured = Measured(
                    correct=measured.correct + sum(rollout.correct for rollout in judged.rollouts),
                    judged=measured.judged + len(judged.rollouts),
                    failed=measured.failed + len(judged.failed),
                )
                async with self._write:
                    self.record = await self._store.land(
                        self.record,
                        prompt.prompt_id,
                        measured,
                        EvaluationLanding(
                            judged=len(judged.rollouts),
                            failed=len(judged.failed),
                            lost=len(judged.lost),
                            tokens=judged.tokens + len(judged.lost) * self._sender.config.sampling.max_new_tokens,
                            prompt_tokens=judged.prompt_tokens,
                        ),
                    )
                if not missing:
                    return
