"""A private Redis for the whole session, emptied for each test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog
from hypothesis import settings
from redis.asyncio import Redis

from scheduler import embedded_redis
from scheduler.state.connection import connect

# A shared two-core machine misses any deadline now and then; the timeout per test is the bound.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# As every process of ours does: what a scheduler in this process logs is not mixed into what a command prints.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

URL_VARIABLE = "PILOTCOMMIT_TEST_REDIS_URL"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own, or the one that the environment names: whose database is then emptied by the tests."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
        return
    with asyncio.Runner() as runner:
        server = embedded_redis.running(tmp_path_factory.mktemp("redis"))
        url = runner.run(server.__aenter__())
        yield url
        runner.run(server.__aexit__(None, None, None))


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    client = connect(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()
