"""One scheduler with one fake server, the learner of its run; and a delivery without servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.scheduler.engine.desk import Desk
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig
from tests.scheduler.state.stores import Stores


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler at work on one fake server, with forty prompts that are right half the time."""
    async with open_rig(redis, tmp_path) as opened:
        yield opened


@pytest.fixture
def learner(rig: Rig) -> Learner:
    """The run's first learner."""
    return Learner(at=lambda: rig.service, folder=rig.folder)


@pytest_asyncio.fixture
async def desk(redis: Redis, tmp_path: Path) -> AsyncIterator[Desk]:
    """A run of two groups a batch, with version 1 published."""
    opened = await Desk.open(await Stores.open(redis), tmp_path, make_config(batch_size=2))
    await opened.begin()
    yield opened
    await opened.stores.audit()
