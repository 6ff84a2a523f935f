"""`pilotcommit token`, and the command line at a scheduler that has a token file."""

import asyncio
import json
from pathlib import Path

import pytest

from scheduler.api.app import create_app
from scheduler.client import Client
from scheduler.core.errors import Forbidden, Unauthorised
from scheduler.learner_link import LearnerLink
from scheduler.service import Service
from scheduler.token_file import TokenFile
from tests.scheduler.cli.conftest import Command
from tests.scheduler.served import listening


async def test_a_token_is_made_listed_and_revoked(pilotcommit: Command, tmp_path: Path) -> None:
    file = str(tmp_path / "tokens.ndjson")
    made = await pilotcommit("token", "create", "ci", "--scope", "submit", "--scope", "operate", "--file", file)
    assert made.code == 0
    token = made.out.strip()
    assert token.startswith("pilotcommit_")
    assert "PILOTCOMMIT_TOKENS_FILE" in made.err
    listed = json.loads((await pilotcommit("token", "list", "--file", file, "--json")).out)
    assert listed == [{"name": "ci", "scopes": ["operate", "submit"]}]
    shown = (await pilotcommit("token", "list", "--file", file)).out
    assert "operate, submit" in shown
    assert token not in shown
    again = await pilotcommit("token", "create", "ci", "--file", file)
    assert again.code == 1
    assert "revoke it first" in again.err
    assert (await pilotcommit("token", "revoke", "ci", "--file", file)).code == 0
    assert TokenFile(Path(file)).records() == ()


async def test_a_command_sends_the_token_of_its_environment(
    pilotcommit: Command, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = TokenFile(tmp_path / "tokens.ndjson")
    reader = tokens.create("reader", [])
    async with listening(create_app(service, tokens=tokens)) as url:
        monkeypatch.setenv("PILOTCOMMIT_URL", url)
        refused = await pilotcommit("run", "list")
        assert refused.code == 1
        assert "needs a token" in refused.err
        monkeypatch.setenv("PILOTCOMMIT_TOKEN", reader)
        assert (await pilotcommit("run", "list")).code == 0


async def test_clients_and_learners_raise_what_the_scheduler_refuses(service: Service, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.ndjson")
    reader = tokens.create("reader", [])
    async with listening(create_app(service, tokens=tokens)) as url:
        async with LearnerLink(url, "run", token=reader) as link:
            with pytest.raises(Forbidden, match="needs the scope learn"):
                await link.attach(incarnation="i", step=0, trained={})
        async with LearnerLink(url, "run") as link:
            with pytest.raises(Unauthorised):
                await link.attach(incarnation="i", step=0, trained={})
        with Client(url, token=reader) as client:
            assert await asyncio.to_thread(client.runs) == []
            with pytest.raises(Forbidden, match="needs the scope operate; the token 'reader' has read"):
                await asyncio.to_thread(client.cancel, "run")
