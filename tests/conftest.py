"""A private Redis for each process of the tests, emptied for each test; and which tests stay in one process."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from aiohttp import ClientSession
from hypothesis import settings
from redis.asyncio import Redis

from inference.connections import Connections
from scheduler import embedded_redis
from scheduler.state.connection import connect

# A shared two-core machine misses any deadline now and then; the timeout per test is the bound.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# As every process of ours does: what a scheduler in this process logs is not mixed into what a command prints.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

URL_VARIABLE = "PILOTCOMMIT_TEST_REDIS_URL"


_TOGETHER = ("contract", "e2e", "browser", "deploy")
"""Folders whose tests share something that is slow to start, an SGLang server above all: once, not once a process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, those of a folder that belongs together go to one of them."""
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in _TOGETHER:
            item.add_marker(pytest.mark.xdist_group(folder))


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


@pytest.fixture(autouse=True)
def _connections_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test closes what it connects: left to the garbage collector, it would fail whichever test runs by then."""
    opened = list[ClientSession]()
    opening = Connections._open

    def open_and_note(connections: Connections) -> ClientSession:
        session = opening(connections)
        opened.append(session)
        return session

    monkeypatch.setattr(Connections, "_open", open_and_note)
    yield
    assert all(session.closed for session in opened), "connections to a server were left open"


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    client = connect(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()
