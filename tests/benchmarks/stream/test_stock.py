"""Groups that are published for the stream's benchmark are those of a run whose books balance."""

import pytest
from redis.asyncio import Redis

from benchmarks.stream.stock import RUN, publish
from scheduler.core.ledger import Ledger, OpenState
from scheduler.core.types import Stage
from scheduler.state.keys import RunKeys
from scheduler.state.runs import counters_of


@pytest.mark.parametrize("batches", [1, 3])
async def test_every_group_is_published_and_every_rollout_in_the_ledger(redis: Redis, batches: int) -> None:
    stock = await publish(redis, tokenizer="none", batch_size=2, batches=batches, rollouts=4, tokens=8)
    keys = RunKeys(RUN)
    assert stock.groups == 2 * batches == await redis.hlen(keys.groups)
    assert stock.packed_bytes > stock.groups * 4 * 8
    ledger = Ledger.from_counters(await counters_of(redis, keys))
    assert ledger.is_balanced
    assert ledger.stages[Stage.PILOT].open[OpenState.PUBLISHED] == 4 * stock.groups
