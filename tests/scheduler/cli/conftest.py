"""The command against the real API on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from scheduler.cli import main
from scheduler.service import Service
from tests.scheduler.served import served


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`pilotcommit`, told by the environment where the scheduler is."""

    capture: pytest.CaptureFixture[str]

    async def __call__(self, *arguments: str) -> Said:
        """Run it in a thread, as the API it talks to runs in this one."""
        code = await asyncio.to_thread(main, arguments)
        out, err = self.capture.readouterr()
        return Said(code=code, out=out, err=err)


@pytest_asyncio.fixture
async def url(service: Service) -> AsyncIterator[str]:
    """Where the API of `service` answers."""
    async with served(service) as address:
        yield address


@pytest.fixture
def pilotcommit(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command on a console of 100 columns."""
    monkeypatch.setenv("PILOTCOMMIT_URL", url)
    monkeypatch.setenv("COLUMNS", "100")
    return Command(capture=capsys)
