"""The pool that most tests of the API start from."""

from pathlib import Path

import pytest_asyncio

from scheduler.service import Service
from scheduler.state.pools import PoolRecord
from tests.scheduler.api.bodies import add_pool


@pytest_asyncio.fixture
async def sums(service: Service, model_folder: Path) -> PoolRecord:
    """A pool named `sums`, without prompts."""
    return await add_pool(service.pools, model_folder)
