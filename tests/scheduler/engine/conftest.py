"""One scheduler with one fake server, and the learner of its run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler at work on one fake server, with forty prompts that are right half the time."""
    async with open_rig(redis, tmp_path) as opened:
        yield opened


@pytest.fixture
def learner(rig: Rig) -> Learner:
    """The run's first learner."""
    return Learner(at=lambda: rig.service, folder=rig.folder)
