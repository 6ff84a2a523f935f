"""Runs: their record and their state."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.course import Turn
from scheduler.core.errors import Conflict, IllegalMove, NotFound
from scheduler.core.ledger import OpenState
from scheduler.core.lifecycle import RunState
from scheduler.core.run import EvaluationPlan, RunConfig
from scheduler.core.types import Sampling, Stage
from scheduler.state.connection import connect
from scheduler.state.course import course
from scheduler.state.keys import RUNS, RunKeys
from scheduler.state.runs import RunRecord, RunStore
from scheduler.state.transaction import Transactor
from tests.scheduler.state.lossy_link import lossy_link
from tests.scheduler.state.stores import Stores, make_config, snapshot

FULL = RunConfig(
    pool="sums",
    allocator="pilot_commit",
    pilots=3,
    commits=5,
    batch_size=4,
    max_staleness=2,
    sampling=Sampling(max_new_tokens=12, temperature=0.7, stop=("\n", "é"), stop_token_ids=(1, 2), ignore_eos=True),
    budget=Budget(rollouts=100, tokens=5000, wall_clock_s=60.5, eval_rollouts=8),
    max_steps=7,
    partial_batches=True,
    seed=3,
    discount=0.5,
    parameters={"low": 2, "share": 0.25, "never": None},
    evaluation=EvaluationPlan(pool="held-out", every_steps=5),
    max_attempts=2,
    attempt_timeout_s=3.5,
)


@pytest.mark.parametrize("config", [make_config(), FULL])
async def test_a_run_is_read_as_it_was_asked_for(redis: Redis, config: RunConfig) -> None:
    created = await RunStore(redis).create(config, now=12.5, run_id="run")
    assert created == await RunStore(redis).get("run")
    assert created == RunRecord(
        run_id="run",
        config=config,
        state=RunState.QUEUED,
        reason="",
        created_at=12.5,
        started_at=None,
        ended_at=None,
        version=0,
        live_version=0,
        step=0,
        checkpointed_step=0,
        incarnation="",
        pool_sequence=0,
    )


async def test_a_taken_id_is_refused_and_its_run_left_as_it_is(redis: Redis) -> None:
    runs = RunStore(redis)
    await runs.create(make_config(), now=1.0, run_id="run")
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="exists already") as conflict:
        await runs.create(FULL, now=2.0, run_id="run")
    assert conflict.value.field == "run_id"
    assert await snapshot(redis) == before


async def test_a_run_without_an_id_gets_one_of_its_own(redis: Redis) -> None:
    runs = RunStore(redis)
    first, second = [await runs.create(make_config(), now=1.0) for _ in range(2)]
    assert first.run_id != second.run_id
    assert sorted(await runs.ids()) == sorted([first.run_id, second.run_id])


async def test_runs_are_listed_oldest_first(redis: Redis) -> None:
    runs = RunStore(redis)
    for run_id, now in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        await runs.create(make_config(), now=now, run_id=run_id)
    assert await runs.ids() == ["a", "b", "c"]


async def test_a_run_that_does_not_exist_is_named(redis: Redis) -> None:
    with pytest.raises(NotFound, match="no run nowhere"):
        await RunStore(redis).get("nowhere")


async def test_a_creation_whose_answer_was_lost_is_not_refused_as_taken(redis: Redis, redis_url: str) -> None:
    async with lossy_link(redis_url) as (link, url):
        distant = connect(url)
        runs = RunStore(distant)
        await runs.create(make_config(), now=1.0, run_id="first")
        link.lose_next_answer()
        assert (await runs.create(make_config(), now=2.0, run_id="second")).run_id == "second"
        await distant.aclose()
    assert link.lost == 1


async def test_a_run_whose_creator_died_before_listing_it_is_listed_by_the_next_try(redis: Redis) -> None:
    runs = RunStore(redis)
    await runs.create(make_config(), now=1.0, run_id="run")
    await redis.zrem(RUNS, "run")
    with pytest.raises(Conflict):
        await runs.create(make_config(), now=2.0, run_id="run")
    assert await redis.zrange(RUNS, 0, -1, withscores=True) == [(b"run", 1.0)]


async def test_a_run_moves_with_its_reason(stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    await stores.runs.change_state(
        stores.transactor, RunState.QUEUED, RunState.WAITING_WEIGHTS, reason="started", now=5.0
    )
    record = await stores.runs.get("run")
    assert (record.state, record.reason, record.ended_at) == (RunState.WAITING_WEIGHTS, "started", None)
    await stores.runs.change_state(
        stores.transactor, RunState.WAITING_WEIGHTS, RunState.CANCELLED, reason="by hand", now=9.5
    )
    record = await stores.runs.get("run")
    assert (record.state, record.reason, record.ended_at) == (RunState.CANCELLED, "by hand", 9.5)


async def test_an_illegal_move_of_a_run_is_refused(redis: Redis, stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    before = await snapshot(redis)
    with pytest.raises(IllegalMove):
        await stores.runs.change_state(
            stores.transactor, RunState.QUEUED, RunState.FINISHED, reason="too soon", now=5.0
        )
    assert await snapshot(redis) == before


async def test_a_move_from_a_state_that_the_run_has_left_is_refused(redis: Redis, stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    await stores.runs.change_state(stores.transactor, RunState.QUEUED, RunState.CANCELLED, reason="by hand", now=5.0)
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="no longer queued"):
        await stores.runs.change_state(
            stores.transactor, RunState.QUEUED, RunState.WAITING_WEIGHTS, reason="late", now=5.0
        )
    assert await snapshot(redis) == before


async def test_facts_are_noted_to_the_last_digit(stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    await stores.runs.note(stores.transactor, started_at=1763934171.1234567, live_version=3, reason="noted")
    record = await stores.runs.get("run")
    assert (record.started_at, record.live_version, record.reason) == (1763934171.1234567, 3, "noted")


async def test_the_ledger_is_read_from_its_counters(stores: Stores) -> None:
    await stores.seed("p")
    await stores.visits.launch(await stores.claim("p", rollouts=4), Stage.PILOT, 3)
    ledger = await stores.runs.ledger("run")
    assert ledger.stages[Stage.PILOT].open[OpenState.IN_FLIGHT] == 3
    assert (ledger.reserved_rollouts, ledger.spent_rollouts) == (1, 3)
    assert (await stores.runs.counters("run"))["considered"] == 1


async def _limited(redis: Redis) -> tuple[RunStore, RunRecord, Transactor]:
    """A run of a hundred rollouts."""
    runs = RunStore(redis)
    record = await runs.create(replace(make_config(), budget=Budget(rollouts=100)), now=1.0, run_id="run")
    return runs, record, Transactor(redis, RunKeys("run"), None)


async def test_a_raised_budget_is_read_from_then_on_and_told_in_the_course(redis: Redis) -> None:
    runs, record, transactor = await _limited(redis)
    await runs.raise_budget(transactor, record, Budget(rollouts=1500), now=2.0)
    raised = await runs.get("run")
    assert (raised.config.budget, raised.num_raises) == (Budget(rollouts=1500), 1)
    assert replace(raised.config, budget=record.config.budget) == record.config
    [event] = await course(redis, RunKeys("run"))
    assert (event.what, event.reason) == (Turn.BUDGET, "rollouts from 100 to 1,500")


async def test_raising_to_what_it_is_changes_nothing(redis: Redis) -> None:
    runs, record, transactor = await _limited(redis)
    await runs.raise_budget(transactor, record, Budget(rollouts=100), now=2.0)
    assert await runs.get("run") == record
    assert await course(redis, RunKeys("run")) == []


async def test_of_two_who_raise_at_once_the_second_is_told(redis: Redis) -> None:
    runs, record, transactor = await _limited(redis)
    await runs.raise_budget(transactor, record, Budget(rollouts=300), now=2.0)
    with pytest.raises(Conflict, match="somebody else"):
        await runs.raise_budget(transactor, record, Budget(rollouts=200), now=2.0)
    assert (await runs.get("run")).config.budget.rollouts == 300


async def test_a_run_that_is_ending_is_not_brought_back_by_a_larger_budget(redis: Redis) -> None:
    runs, record, transactor = await _limited(redis)
    await runs.settle_ending(transactor, RunState.EXHAUSTED, reason="spent", now=2.0, num_raises=0)
    with pytest.raises(Conflict, match="ending"):
        await runs.raise_budget(transactor, record, Budget(rollouts=300), now=3.0)


async def test_a_drain_that_did_not_know_of_a_raise_is_refused(redis: Redis) -> None:
    runs, record, transactor = await _limited(redis)
    await runs.raise_budget(transactor, record, Budget(rollouts=300), now=2.0)
    with pytest.raises(Conflict, match="raised meanwhile"):
        await runs.settle_ending(transactor, RunState.EXHAUSTED, reason="spent", now=3.0, num_raises=0)
    assert (await runs.get("run")).ending is None
