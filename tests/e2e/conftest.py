"""One real SGLang server for all tests of this package, and a fresh service for each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from inference.interpreter import sglang_python
from inference.launch import ServerSpec
from inference.supervisor import RestartPacing, Supervisor
from scheduler.ports import free_port
from tests.e2e.local_service import LocalService, started
from tests.tiny_model import write_tiny_model

StartService = Callable[..., AbstractAsyncContextManager[LocalService]]


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy at step 0."""
    return write_tiny_model(tmp_path_factory.mktemp("e2e") / "model", seed=3)


@asynccontextmanager
async def supervised(model: Path, folder: Path) -> AsyncIterator[Supervisor]:
    """A supervised server that computes in float32, as the learners do."""
    supervisor = Supervisor(
        ServerSpec(model_path=model, port=free_port(), dtype="float32", max_running=64),
        python=sglang_python(),
        log_path=folder / "server.log",
        current_model=lambda: model,
        pacing=RestartPacing(first_s=0.1, start_timeout_s=150.0),
    )
    running = asyncio.create_task(supervisor.run())
    ready = asyncio.create_task(supervisor.wait_ready())
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        running.result()
    try:
        yield supervisor
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def sglang(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    """The server that all tests share."""
    async with supervised(model, tmp_path_factory.mktemp("sglang")) as supervisor:
        yield supervisor


@pytest.fixture
def start_service(sglang: Supervisor, model: Path, tmp_path: Path) -> StartService:
    """Starts the service of one test."""
    return partial(started, tmp_path / "state", model=model, servers=(sglang.base_url,), server_log=sglang.log_path)
