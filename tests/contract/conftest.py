"""The two servers the suite runs against."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from inference.client import ServerClient
from inference.fake import FakeConfig, FakeServer, create_fake
from inference.interpreter import sglang_python
from inference.launch import ServerSpec
from inference.protocol import ModelLimits
from inference.supervisor import RestartPacing, Supervisor
from scheduler.ports import free_port
from scheduler.tokenizers import load_tokenizer
from tests.contract.subject import ADMIN_KEY, API_KEY, MAX_QUEUED, MAX_RUNNING, Subject
from tests.tiny_model import CONTEXT_LENGTH, VOCAB_SIZE, write_tiny_model

LIMITS = ModelLimits(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """Two sets of weights of one architecture."""

    old: Path
    new: Path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    folder = tmp_path_factory.mktemp("models")
    return Checkpoints(old=write_tiny_model(folder / "old", seed=0), new=write_tiny_model(folder / "new", seed=1))


@pytest.fixture(scope="session")
def runs() -> Iterator[int]:
    return itertools.count()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sglang(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    """One real server for the whole session, supervised."""
    spec = ServerSpec(
        model_path=checkpoints.old,
        port=free_port(),
        dtype="float32",
        max_running=MAX_RUNNING,
        max_queued=MAX_QUEUED,
        api_key=API_KEY,
        admin_api_key=ADMIN_KEY,
    )
    supervisor = Supervisor(
        spec,
        python=sglang_python(),
        log_path=tmp_path_factory.mktemp("sglang") / "server.log",
        current_model=lambda: checkpoints.new,
        pacing=RestartPacing(first_s=0.1, start_timeout_s=150.0),
    )
    running = asyncio.create_task(supervisor.run())
    ready = asyncio.create_task(supervisor.wait_ready())
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        running.result()
    yield supervisor
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(
    params=[
        "fake",
        # The first of them waits for the server to start.
        pytest.param("real", marks=[pytest.mark.sglang, pytest.mark.timeout(240)]),
    ],
)
def supervisor(request: pytest.FixtureRequest) -> Supervisor | None:
    """The real server's supervisor, or nothing for the fake: only who asks for the real one starts it."""
    return request.getfixturevalue("sglang") if request.param == "real" else None


@pytest_asyncio.fixture(loop_scope="session")
async def server(
    supervisor: Supervisor | None, checkpoints: Checkpoints, runs: Iterator[int]
) -> AsyncIterator[Subject]:
    """A server that is idle, running, and serves version 1 of a run that no other test knows."""
    fake = None if supervisor else FakeServer(_fake_config(checkpoints))
    transport = httpx.ASGITransport(create_fake(fake)) if fake else None
    base_url = supervisor.base_url if supervisor else "http://fake"
    client = ServerClient(base_url, LIMITS, api_key=API_KEY, admin_api_key=ADMIN_KEY, transport=transport)
    http = httpx.AsyncClient(base_url=base_url, transport=transport, timeout=60.0, trust_env=False)
    subject = Subject(
        client=client,
        http=http,
        run=f"run{next(runs)}",
        old=checkpoints.old,
        new=checkpoints.new,
        fake=fake,
        supervisor=supervisor,
    )
    await client.resume()
    await client.abort_all()
    await client.update_weights(subject.old, subject.label(1))
    yield subject
    await client.aclose()
    await http.aclose()


def _fake_config(checkpoints: Checkpoints) -> FakeConfig:
    tokenizer = load_tokenizer(checkpoints.old)
    return FakeConfig(
        model_path=str(checkpoints.old),
        weight_version="unconfirmed",
        vocab_size=VOCAB_SIZE,
        context_length=CONTEXT_LENGTH,
        max_running=MAX_RUNNING,
        max_queued=MAX_QUEUED,
        api_key=API_KEY,
        admin_api_key=ADMIN_KEY,
        tokenizer=lambda text: list(tokenizer.encode_bare(text)),
    )
