"""The stores of one run on the session's private Redis."""

import pytest_asyncio
from redis.asyncio import Redis

from tests.scheduler.state.stores import Stores


@pytest_asyncio.fixture
async def stores(redis: Redis) -> Stores:
    """A run without a budget, under the lease of the only scheduler."""
    return await Stores.open(redis)
