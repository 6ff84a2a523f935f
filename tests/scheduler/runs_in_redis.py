"""A run with something in its ledger, without an engine: what tables and metrics are tested with.

Owns: one course of events, made of the stores' own transactions. Invariant: the ledger it leaves balances and has
something in every stage.
"""

from dataclasses import replace

from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.evaluation import EvaluationState
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Prompt, Stage, Verdict
from scheduler.state.evaluations import EvaluationLanding, EvaluationRecord, Measured
from scheduler.state.pools import PoolRecord, PoolStore
from scheduler.state.runs import RunStore
from scheduler.state.visit import Landing
from tests.scheduler.state.stores import Stores, make_config, make_event, make_rollouts, make_row, make_weights

BUDGET = Budget(rollouts=100, tokens=2000, eval_rollouts=20)
PROMPTS = tuple(f"sum-{number}" for number in range(8))


async def add_pool(redis: Redis, name: str) -> None:
    """A pool with the prompts sum-0 to sum-7."""
    pools = PoolStore(redis)
    await pools.create(
        PoolRecord(
            name=name, tokenizer="/models/tiny", reward="exact", context_length=64, max_prompt_tokens=32, created_at=1.0
        )
    )
    await pools.add(name, [Prompt(prompt_id=prompt_id, input_ids=(5, 6)) for prompt_id in PROMPTS])


async def create_run(redis: Redis, run_id: str, *, now: float = 1.0, budget: Budget = BUDGET) -> None:
    """A queued run over the pool `sums`."""
    await RunStore(redis).create(replace(make_config(), budget=budget, max_steps=30), now=now, run_id=run_id)


async def end_run(redis: Redis, run_id: str, *, state: RunState = RunState.CANCELLED, now: float = 2.0) -> None:
    """End a queued run."""
    stores = await Stores.open(redis, run_id)
    await stores.runs.change_state(stores.transactor, RunState.QUEUED, state, reason="enough seen", now=now)


async def make_busy_run(redis: Redis, run_id: str = "busy") -> Stores:
    """A run at work: every verdict given, a group trained, another published, attempts lost, failed and in flight."""
    await add_pool(redis, "sums")
    await add_pool(redis, "held-out")
    await create_run(redis, run_id)
    stores = await Stores.open(redis, run_id, budget=BUDGET)
    for source, to in ((RunState.QUEUED, RunState.WAITING_WEIGHTS), (RunState.WAITING_WEIGHTS, RunState.RUNNING)):
        await stores.runs.change_state(stores.transactor, source, to, reason="", now=1.5)
    await stores.runs.note(stores.transactor, started_at=2.0)
    await stores.versions.announce(make_weights(1))
    await stores.versions.update(make_weights(1), live=True)
    await stores.attach()
    await stores.seed(*PROMPTS)
    await _train(stores, "sum-0")
    await stores.make_group("sum-1", version=2)
    await _settle(stores, "sum-2", Verdict.SKIP, "too_easy")
    await _settle(stores, "sum-3", Verdict.DEFER, "too_hard")
    await _settle(stores, "sum-4", Verdict.EVICT, "solved")
    await _quarantine(stores, "sum-5")
    await stores.visits.launch(await stores.claim("sum-6"), Stage.PILOT, 2)
    event = make_event("passed_over", reason="solved")
    row = make_row(next_version=9)
    await stores.pass_over("sum-7", row=row, event=event)
    await _evaluate(stores)
    return stores


async def _train(stores: Stores, prompt_id: str) -> None:
    entry = await stores.make_group(prompt_id)
    (batched,) = await stores.groups.form_batch(1, [entry])
    weights = make_weights(2, step=1)
    stepped = await stores.groups.applied([batched], {}, incarnation="learner", step=1, weights=weights, now=3.0)
    await stores.groups.checkpointed(stepped, incarnation="learner", step=1, now=3.0)


async def _settle(stores: Stores, prompt_id: str, verdict: Verdict, reason: str) -> None:
    outcomes = {Verdict.SKIP: Outcome.SKIPPED, Verdict.DEFER: Outcome.DEFERRED, Verdict.EVICT: Outcome.EVICTED}
    visit = await stores.ask(await stores.claim(prompt_id), Stage.PILOT, 2)
    waits = verdict is not Verdict.SKIP
    await stores.settle(
        visit,
        outcomes[verdict],
        what=verdict,
        reason=reason,
        state=PromptState.WAITING if waits else PromptState.READY,
        row=make_row(next_version=7 if waits else 0),
    )


async def _quarantine(stores: Stores, prompt_id: str) -> None:
    """One pilot came back, one had no reward, two were lost."""
    visit = await stores.visits.launch(await stores.claim(prompt_id), Stage.PILOT, 4)
    rollouts = make_rollouts(1)
    visit = await stores.visits.land(
        visit,
        Landing(stage=Stage.PILOT, rollouts=rollouts, failed=1, failed_tokens=3, lost=2, prompt_tokens=8),
        held=rollouts,
    )
    await stores.settle(
        visit,
        Outcome.INCOMPLETE,
        what="quarantined",
        reason="lost 3 times running: [connect] refused",
        state=PromptState.QUARANTINED,
        row=make_row(next_version=None, lost_visits=3),
    )


async def _evaluate(stores: Stores) -> None:
    """Two held-out prompts of four rollouts each: five right of eight."""
    record = EvaluationRecord(
        evaluation_id="eval-1",
        pool="held-out",
        num_rollouts=4,
        num_prompts=2,
        created_at=4.0,
        version=1,
        purpose="before",
        state=EvaluationState.RUNNING,
    )
    await stores.evaluations.put(record)
    for prompt_id, correct in (("sum-0", 4), ("sum-1", 1)):
        await stores.evaluations.launch(4)
        landing = EvaluationLanding(judged=4, failed=0, lost=0, tokens=20, prompt_tokens=8)
        record = await stores.evaluations.land(record, prompt_id, Measured(correct=correct, judged=4), landing)
    await stores.evaluations.put(replace(record, state=EvaluationState.DONE))
