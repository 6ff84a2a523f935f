"""The parts of one run's engine, put together.

Owns: which part gets what. Never runs anything. Invariant: all parts that write share one transactor, so one fence.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from scheduler.broadcast import Broadcasts, BroadcastSettings
from scheduler.core.allocators.catalogue import build_allocator
from scheduler.core.allocators.interface import Allocator
from scheduler.core.allocators.profiling import Profiling
from scheduler.core.path_map import SAME_EVERYWHERE, PathMap
from scheduler.core.roll_out import AT_ONCE, RollOut
from scheduler.core.run import RunConfig, RunMode
from scheduler.core.types import Prompt
from scheduler.engine.admission import Admission
from scheduler.engine.attempts import Sender
from scheduler.engine.batches import Batches
from scheduler.engine.circuit import Circuit
from scheduler.engine.delivery import Delivery, DeliverySettings
from scheduler.engine.evaluator import Evaluator
from scheduler.engine.flights import Flights
from scheduler.engine.foresight import Foresight
from scheduler.engine.judging import Judge
from scheduler.engine.measures import Measure, measure_of
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.engine.visit import VisitRunner
from scheduler.fleet import Fleet, Share
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import parse_spec
from scheduler.state.completions import KEPT_BYTES, CompletionStore
from scheduler.state.connection import Redis
from scheduler.state.evaluations import EvaluationRecord, EvaluationStore
from scheduler.state.groups import GroupStore
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.pools import PoolStore
from scheduler.state.records import RecordStore
from scheduler.state.row import Row
from scheduler.state.run_pools import RunPools
from scheduler.state.runs import RunRecord, RunStore
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from scheduler.state.versions import VersionStore, WeightRecord, recent_versions
from scheduler.state.visit import Visit
from scheduler.state.visits import VisitStore
from scheduler.tokenizers import Tokenizer, Tokenizers
from scheduler.weight_load import Loader
from scheduler.weights import WeightPusher


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How the loops of a run are paced."""

    tend_s: float = 0.25
    """Longest pause between two looks at what can be claimed, returned or ended."""
    pilot_cap: int = 256
    """Prompts in their pilots at once, at most."""
    retry_s: float = 0.5
    """Pause before a lost attempt is made again; it doubles with each further try."""
    recall_s: float = 5.0
    """How long an attempt that was called back may take to end at its server before nobody waits for it any more."""
    push_retry_s: float = 2.0
    """Pause before weights that a server did not take are given to it again."""
    drain_s: float = 0.0
    """What a server has in flight when weights are pushed gets this long to end before it is retracted."""
    roll_out: RollOut = AT_ONCE
    """How many servers are closed for new weights at a time."""
    paths: PathMap = SAME_EVERYWHERE
    """Where this host and servers see what a learner publishes."""
    stall_s: float = 120.0
    """Without any progress for this long, a warning says what the run waits for."""
    end_grace_s: float = 60.0
    """How long a cancelled run waits for its learner to save what it has applied."""
    completions_kept_bytes: int = KEPT_BYTES
    """Of the completions of ended visits, what is kept of a run; 0 keeps none."""
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    broadcast: BroadcastSettings = field(default_factory=BroadcastSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the process has one of, and every run shares."""

    redis: "Redis"
    fleet: Fleet
    rewards: RewardPool
    tokenizers: Tokenizers
    settings: EngineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One run's parts."""

    run_id: str
    config: RunConfig
    keys: RunKeys
    lease: Lease
    runs: RunStore
    pools: RunPools
    transactor: Transactor
    table: Table
    groups: GroupStore
    versions: VersionStore
    visits: VisitStore
    rule: RuleInForce
    pipeline: Pipeline
    flights: Flights
    circuit: Circuit
    weights: WeightPusher
    broadcasts: Broadcasts
    batches: Batches
    delivery: Delivery
    evaluations: EvaluationStore
    evaluator: Evaluator
    records: RecordStore
    completions: CompletionStore
    runner: VisitRunner
    admission: Admission


def allocator_of(config: RunConfig) -> Allocator:
    """The allocator a run names; raises InvalidInput if there is none such."""
    return build_allocator(config.allocator, pilots=config.pilots, commits=config.commits, parameters=config.parameters)


def rule_of(config: RunConfig) -> Allocator:
    """The allocator that a run follows: the one it names, but for a profile, which commits nothing."""
    return Profiling(pilots=config.pilots) if config.mode is RunMode.PROFILE else allocator_of(config)


async def assemble(
    around: Surroundings,
    share: Share,
    lease: Lease,
    record: RunRecord,
    *,
    start_visit: Callable[[Visit, Prompt, Row], None],
    on_weights: Callable[[WeightRecord], Awaitable[None]],
    on_live: Callable[[], None],
) -> Parts:
    """Put a run's engine together; the callables are the engine's own ears."""
    config, keys, redis, settings = record.config, RunKeys(record.run_id), around.redis, around.settings
    pools, transactor = PoolStore(redis), Transactor(redis, keys, lease.fence)
    run_pools = RunPools(redis, config.mixture)
    table, versions = Table.of(redis, keys, config), VersionStore(redis, transactor)
    groups = GroupStore(redis, transactor, table)
    max_new_tokens = config.sampling.max_new_tokens
    visits = VisitStore(
        redis,
        transactor,
        table,
        budget=config.budget,
        max_new_tokens=max_new_tokens,
        keeps_completions=settings.completions_kept_bytes > 0,
    )
    runs = RunStore(redis)
    evaluations = EvaluationStore(redis, transactor, cap=config.budget.eval_rollouts)
    allocator = rule_of(config)
    rule = RuleInForce(
        allocator,
        runs=runs,
        run_id=record.run_id,
        step=record.step,
        batch_size=config.batch_size,
        foresight=Foresight(run_pools, discount=config.discount) if allocator.foresees else None,
    )
    pipeline = Pipeline(
        batch_size=config.batch_size,
        max_staleness=config.max_staleness,
        batches_ahead=config.batches_ahead,
        round_batches=rule.allocator.round_batches,
        pilot_cap=settings.pilot_cap,
        max_steps=config.max_steps,
        step=record.step,
    )
    pipeline.change(policy_version=record.version)
    broadcasts = Broadcasts(run_id=record.run_id, settings=settings.broadcast)
    weights = WeightPusher(
        share,
        versions,
        run_id=record.run_id,
        on_live=on_live,
        retry_s=settings.push_retry_s,
        drain_s=settings.drain_s,
        roll_out=settings.roll_out,
        loader=Loader(broadcasts, pause_mode=config.pause_mode, paths=settings.paths),
    )
    batches = Batches(
        run_id=record.run_id,
        config=config,
        rule=rule,
        pipeline=pipeline,
        groups=groups,
        patience_s=settings.delivery.patience_s,
    )
    newest = await recent_versions(redis, keys, count=1)
    flights = Flights(config, run_id=record.run_id, look_every_s=settings.tend_s)
    circuit = Circuit(config.breaker, run_id=record.run_id, runs=runs, transactor=transactor)

    async def sender_of(pool: str) -> Sender:
        return Sender(
            share=share,
            judge=Judge(
                rewards=around.rewards,
                reward=parse_spec((await pools.get(pool)).reward),
                config=config,
                run_id=record.run_id,
            ),
            config=config,
            run_id=record.run_id,
            fence=lease.fence,
            flights=flights,
            retry_s=settings.retry_s,
            recall_s=settings.recall_s,
        )

    async def tokenizer_of(pool: str) -> Tokenizer:
        return await around.tokenizers.get((await pools.get(pool)).tokenizer)

    async def evaluation_measure(evaluation: EvaluationRecord) -> Measure:
        return await measure_of(evaluation, sender_of, tokenizer_of)

    return Parts(
        run_id=record.run_id,
        config=config,
        keys=keys,
        lease=lease,
        runs=runs,
        pools=run_pools,
        transactor=transactor,
        table=table,
        groups=groups,
        versions=versions,
        visits=visits,
        rule=rule,
        pipeline=pipeline,
        flights=flights,
        circuit=circuit,
        weights=weights,
        broadcasts=broadcasts,
        batches=batches,
        delivery=Delivery(
            run_id=record.run_id,
            config=config,
            batches=batches,
            pipeline=pipeline,
            groups=groups,
            versions=versions,
            on_weights=on_weights,
            checkpointed_step=record.checkpointed_step,
            incarnation=record.incarnation,
            last_weights=newest[0] if newest else None,
            paths=settings.paths,
            settings=settings.delivery,
        ),
        evaluations=evaluations,
        evaluator=Evaluator(
            redis,
            keys,
            evaluations,
            pools,
            weights,
            versions,
            plan=config.evaluation,
            measure_of=evaluation_measure,
        ),
        records=RecordStore(redis, keys),
        completions=CompletionStore(redis, keys, kept_bytes=settings.completions_kept_bytes),
        runner=VisitRunner(
            senders={pool: await sender_of(pool) for pool in config.mixture.names},
            visits=visits,
            pipeline=pipeline,
            circuit=circuit,
            config=config,
            rule=rule,
        ),
        admission=Admission(
            config=config,
            fence=lease.fence,
            rule=rule,
            pipeline=pipeline,
            circuit=circuit,
            table=table,
            visits=visits,
            pools=run_pools,
            transactor=transactor,
            run_id=record.run_id,
            start=start_visit,
            now=time.time,
            rng=np.random.default_rng(config.seed),
        ),
    )
