"""What is looked at of a table, and how often."""

import math

from redis.asyncio import Redis

from scheduler.state.runs import RunStore
from scheduler.table_sample import GOOD_FOR_S, NUM_ROWS, TableSample
from tests.scheduler.runs_in_redis import create_run
from tests.scheduler.state.stores import Stores


async def visit(stores: Stores, *prompt_ids: str) -> None:
    """Give prompts a row."""
    await stores.seed(*prompt_ids)
    await stores.pass_over(*prompt_ids)


async def test_a_table_is_looked_at_once_in_a_while_however_often_it_is_asked_for(redis: Redis) -> None:
    await create_run(redis, "run")
    stores, record = await Stores.open(redis), await RunStore(redis).get("run")
    clock = [100.0]
    sample = TableSample(redis, now=lambda: clock[0])
    await visit(stores, "a")
    assert (await sample.spread(record, {}))[math.inf] == 1
    await visit(stores, "b", "c")
    clock[0] += GOOD_FOR_S / 2
    assert (await sample.spread(record, {}))[math.inf] == 1
    clock[0] += GOOD_FOR_S
    assert (await sample.spread(record, {}))[math.inf] == 3


async def test_no_more_than_a_bounded_number_of_rows_is_ever_read(redis: Redis) -> None:
    await create_run(redis, "run")
    stores, record = await Stores.open(redis), await RunStore(redis).get("run")
    await visit(stores, "a")
    row = await redis.hget(stores.keys.table, "a")
    assert row is not None
    await redis.hset(stores.keys.table, mapping={f"p{number}": row for number in range(3 * NUM_ROWS)})
    rows, num_rows = await stores.table.some_rows(NUM_ROWS)
    assert (len(rows), num_rows) == (NUM_ROWS, 3 * NUM_ROWS + 1)
    assert round((await TableSample(redis).spread(record, {}))[math.inf]) == 3 * NUM_ROWS + 1


async def test_a_run_without_visits_has_no_histogram(redis: Redis) -> None:
    await create_run(redis, "run")
    assert await TableSample(redis).spread(await RunStore(redis).get("run"), {}) == {}
