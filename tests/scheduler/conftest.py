"""A scheduler without servers: its service on a real Redis, and its application reached without a socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler.api.app import create_app
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.service import Service
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a tokenizer of characters, 128 token ids and a context of 2048."""
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def unreachable(url: str) -> ServerClient:
    """A client for a server that is not there."""
    return ServerClient(url, ModelLimits(vocab_size=128, context_length=2048))


@pytest_asyncio.fixture
async def service(redis: Redis) -> AsyncIterator[Service]:
    """A service on an empty Redis with an empty fleet: no engine of it is at work."""
    # Its workers start when the first reward is checked.
    rewards, fleet = RewardPool(1), Fleet(())
    yield Service(redis, fleet, rewards, EngineSettings(), connect=unreachable)
    await fleet.aclose()
    await rewards.close()


@pytest_asyncio.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """The service's application."""
    # What the application raises it has answered already; the answer is what tests look at.
    transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as client:
        yield client
