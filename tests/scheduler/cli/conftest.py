"""The command against the real API on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from scheduler.cli import main
from scheduler.service import Service
from tests.scheduler.served import served

CHAT_TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


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


@pytest.fixture
def chat_folder(model_folder: Path, tmp_path: Path) -> Path:
    """The model, with a chat template."""
    folder = tmp_path / "chat-model"
    folder.mkdir()
    for file in model_folder.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder
