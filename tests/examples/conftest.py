"""The model and the scheduler that the examples' tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.scheduler.training_site import TrainingSite, training_site
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy at step 0."""
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest_asyncio.fixture
async def site(redis: Redis, model_folder: Path, tmp_path: Path) -> AsyncIterator[TrainingSite]:
    """A scheduler at work with one run of three steps."""
    async with training_site(redis, model_folder, tmp_path, max_steps=3) as opened:
        yield opened
