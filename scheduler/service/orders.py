"""What an operator can order: runs created, paused, resumed, given more budget and cancelled, prompts brought back.

Owns: what an order needs to be sound. Never works on a run. Invariant: an order to a run goes through its engine if
that is at work, and else changes what its engine will find.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from scheduler.checkpoints import Checkpoints
from scheduler.core.budget import Budget
from scheduler.core.errors import Conflict, InvalidInput
from scheduler.core.evaluation import DEFAULT_TARGET, EvaluationMeasure
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.core.outlook import Outlook, outlook
from scheduler.core.path_map import PathMap
from scheduler.core.run import RunConfig, RunMode
from scheduler.engine.engine import Engine
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import UNCERTAIN, RewardSpec, parse_spec
from scheduler.service.conductor import Conductor
from scheduler.service.views import Views
from scheduler.state.connection import Redis
from scheduler.state.evaluations import EvaluationRecord
from scheduler.state.keys import RunKeys
from scheduler.state.pools import PoolStore
from scheduler.state.row import PromptView
from scheduler.state.runs import RunRecord, RunStore, taken
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A run that could be created, and is not."""

    config: RunConfig
    num_prompts: Mapping[str, int]
    """Of each of its pools."""
    num_held_out: int
    outlook: Outlook


class Orders:
    """One method an order."""

    def __init__(
        self,
        redis: Redis,
        conductor: Conductor,
        views: Views,
        checkpoints: Checkpoints,
        rewards: RewardPool,
        *,
        model: Path | None,
        paths: PathMap,
    ) -> None:
        """`model`: whose weights a profile samples with that names none."""
        self._redis = redis
        self._checkpoints = checkpoints
        self._model = None if model is None else str(model.absolute())
        self._paths = paths
        self._conductor = conductor
        self._views = views
        self._rewards = rewards
        self._pools = PoolStore(redis)
        self._runs = RunStore(redis)

    async def create(self, config: RunConfig, run_id: str | None = None) -> RunRecord:
        """Queue a run; raises NotFound for a pool of it, InvalidInput if one is empty or the allocator is unknown."""
        config = await self._complete(config)
        await self._check(config)
        record = await self._runs.create(config, now=time.time(), run_id=run_id)
        self._conductor.look_again()
        log.info("run_created", run=record.run_id, pool=config.mixture.label, allocator=config.allocator)
        return record

    async def rehearse(self, config: RunConfig, run_id: str | None = None) -> Rehearsal:
        """What creating this run would come to; raises what creating it would raise, and creates nothing."""
        config = await self._complete(config)
        num_prompts, num_held_out = await self._check(config)
        if run_id is not None and await self._runs.exists(run_id):
            raise taken(run_id)
        return Rehearsal(
            config=config,
            num_prompts=num_prompts,
            num_held_out=num_held_out,
            outlook=outlook(config, num_held_out=num_held_out),
        )

    async def _complete(self, config: RunConfig) -> RunConfig:
        """With the weights that a profile samples with; raises InvalidInput for weights that no server is to load."""
        if config.mode is not RunMode.PROFILE:
            return config
        weights = config.weights if config.weights is not None else self._model
        if weights is None:
            raise InvalidInput("name the folder of the weights that servers are to sample with", field="weights")
        try:
            here = self._paths.here(weights)
            if not await asyncio.to_thread(_is_folder, here):
                raise InvalidInput(f"{here} is no absolute folder here: servers and scheduler read weights from it")
            # The operator's own model may lie anywhere: servers were started with it.
            if weights != self._model:
                await self._checkpoints.check(here)
        except InvalidInput as error:
            raise InvalidInput(str(error), field="weights") from error
        return replace(config, weights=weights)

    async def _check(self, config: RunConfig) -> tuple[dict[str, int], int]:
        """Prompts of each of its pools, and those that it is evaluated on."""
        names = config.mixture.names
        fields = {pool: f"pools.{number}.name" if config.pools else "pool" for number, pool in enumerate(names)}
        if config.evaluation is not None:
            fields[config.evaluation.pool] = "evaluation.pool"
        sizes, rewards = dict[str, int](), dict[RewardSpec, str]()
        for pool, field in fields.items():
            sizes[pool], reward = await self._check_pool(pool, field, config)
            rewards.setdefault(reward, field)
        Engine.check(config)
        await self._check_rewards(rewards)
        num_held_out = sizes[config.evaluation.pool] if config.evaluation is not None else 0
        return {pool: sizes[pool] for pool in names}, num_held_out

    async def _check_pool(self, pool: str, field: str, config: RunConfig) -> tuple[int, RewardSpec]:
        record = await self._pools.get(pool)
        context_length = record.context_length
        if config.sampling.max_new_tokens >= context_length:
            raise InvalidInput(
                f"{config.sampling.max_new_tokens} tokens leave no room for a prompt in a context of {context_length}",
                field="sampling.max_new_tokens",
            )
        num_prompts = await self._pools.size(pool)
        if not num_prompts:
            raise InvalidInput(f"pool {pool} has no prompts: add some first", field=field)
        return num_prompts, parse_spec(record.reward)

    async def _check_rewards(self, rewards: Mapping[RewardSpec, str]) -> None:
        """All at once, each named by the field of its pool; raises InvalidInput for the first that does not work.

        What was there when a pool was created may be missing by now: a package, a module, a server.
        """
        checks = [self._check_reward(reward, field) for reward, field in rewards.items() if reward.kind in UNCERTAIN]
        for found in await asyncio.gather(*checks, return_exceptions=True):
            if found is not None:
                raise found

    async def _check_reward(self, reward: RewardSpec, field: str) -> None:
        try:
            await self._rewards.check(reward)
        except InvalidInput as error:
            raise InvalidInput(str(error), field=field) from error

    async def pause(self, run_id: str) -> RunRecord:
        """Claim nothing new; open visits finish. Raises Conflict if the run does not claim anyway."""
        async with self._conductor.ordering:
            engine = self._conductor.working(run_id)
            if engine is not None:
                await engine.pause("paused by an operator")
            else:
                await self._conductor.move(await self._runs.get(run_id), RunState.PAUSED, "paused by an operator")
        return await self._runs.get(run_id)

    async def resume(self, run_id: str) -> RunRecord:
        """Go on after a pause; raises Conflict if the run is not paused."""
        async with self._conductor.ordering:
            engine, record = self._conductor.working(run_id), await self._runs.get(run_id)
            if record.state is not RunState.PAUSED:
                raise Conflict(f"run {run_id} is {record.state}, not paused")
            if engine is not None:
                await engine.resume("resumed by an operator")
            else:
                await self._conductor.move(record, RunState.QUEUED, "resumed by an operator")
        self._conductor.look_again()
        return await self._runs.get(run_id)

    async def raise_budget(self, run_id: str, to: Budget) -> RunRecord:
        """Raise a run's budget to the limits that `to` has.

        Raises InvalidInput for a lower one, Conflict if the run is ending. A scheduler that is at work on the run
        elsewhere takes it up within a quarter of its lease.
        """
        async with self._conductor.ordering:
            engine, record = self._conductor.working(run_id), await self._runs.get(run_id)
            transactor = engine.parts.transactor if engine else Transactor(self._redis, RunKeys(run_id), None)
            await self._runs.raise_budget(transactor, record, to, now=time.time())
            record = await self._runs.get(run_id)
            if engine is not None:
                engine.phases.take_up_budget(record)
        return record

    async def cancel(self, run_id: str) -> RunRecord:
        """End a run now: what is in flight is aborted and accounted as cancelled. Raises Conflict if it has ended."""
        async with self._conductor.ordering:
            engine, record = self._conductor.working(run_id), await self._runs.get(run_id)
            reason = "cancelled by an operator"
            if engine is not None:
                await engine.cancel(reason)
            elif record.state not in ENDED and (record.incarnation or await self._conductor.is_elsewhere(run_id)):
                # It has begun, so it may have attempts to account for: the engine that takes it up will, or the one
                # that is at work on it in another scheduler.
                transactor = Transactor(self._redis, RunKeys(run_id), None)
                await self._runs.settle_ending(transactor, RunState.CANCELLED, reason=reason, now=time.time())
                log.info("run_ending", run=run_id, ending=RunState.CANCELLED, reason=reason)
            else:
                await self._conductor.move(record, RunState.CANCELLED, reason)
        self._conductor.look_again()
        return await self._runs.get(run_id)

    async def reinstate(self, run_id: str, prompt_id: str) -> PromptView:
        """Make a waiting or quarantined prompt claimable now; raises Conflict if it is neither."""
        view = await self._views.prompt(run_id, prompt_id)
        record = await self._runs.get(run_id)
        engine = self._conductor.working(run_id)
        fence = engine.parts.lease.fence if engine else None
        table = Table.of(self._redis, RunKeys(run_id), record.config)
        transactor = Transactor(self._redis, RunKeys(run_id), fence)
        await table.reinstate(transactor, view.prompt_id, now=time.time(), version=record.version)
        log.info("reinstated", run=run_id, prompt=prompt_id, before=view.state)
        return await table.view(prompt_id)

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
        evaluator = (await self._conductor.at_work(run_id)).parts.evaluator
        return await evaluator.request(
            pool=pool, num_rollouts=num_rollouts, version=version, measure=measure, target=target
        )


def _is_folder(path: str) -> bool:
    return os.path.isabs(path) and os.path.isdir(path)
