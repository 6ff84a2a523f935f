"""`pilotcommit pool`."""

import asyncio
import json
from pathlib import Path

from scheduler.client import Client
from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import add_pool


async def test_a_pool_is_created_listed_and_shown(pilotcommit: Command, model_folder: Path) -> None:
    options = ("--tokenizer", str(model_folder), "--reward", "exact", "--max-prompt-tokens", "99")
    created = await pilotcommit("pool", "create", "sums", *options)
    assert created.code == 0
    assert "99 tokens" in created.out
    assert "sums" in (await pilotcommit("pool", "list")).out
    assert "99 tokens" in (await pilotcommit("pool", "show", "sums")).out


async def test_json_is_what_the_api_answered(pilotcommit: Command, service: Service, url: str) -> None:
    await add_pool(service.redis, "sums")
    said = await pilotcommit("pool", "show", "sums", "--json")
    with Client(url) as client:
        assert json.loads(said.out) == await asyncio.to_thread(client.pool, "sums")
    assert [pool["name"] for pool in json.loads((await pilotcommit("pool", "list", "--json")).out)] == ["sums"]


async def test_prompts_are_added_from_a_file(pilotcommit: Command, model_folder: Path, tmp_path: Path) -> None:
    await pilotcommit("pool", "create", "sums", "--tokenizer", str(model_folder), "--reward", "exact")
    file = tmp_path / "prompts.ndjson"
    file.write_text('{"text": "1+1=", "answer": "2"}\n{"text": "1+2=", "answer": "3"}\n')
    said = await pilotcommit("pool", "add", "sums", str(file))
    assert (said.code, said.out) == (0, "2 added, 0 unchanged, 0 refused\n")
    again = await pilotcommit("pool", "add", "sums", str(file), "--json")
    assert json.loads(again.out) == {"added": 0, "unchanged": 2, "refused": []}


async def test_a_refused_line_is_named_and_ends_with_1_while_the_others_are_stored(
    pilotcommit: Command, service: Service, model_folder: Path, tmp_path: Path
) -> None:
    await pilotcommit("pool", "create", "sums", "--tokenizer", str(model_folder), "--reward", "exact")
    file = tmp_path / "prompts.ndjson"
    file.write_text('{"text": "1+1="}\n{"id": "bad", "text": "1", "input_ids": [5]}\n')
    said = await pilotcommit("pool", "add", "sums", str(file))
    assert said.code == 1
    assert "1 added, 0 unchanged, 1 refused" in said.out
    assert "bad" in said.out
    assert await service.pools.size("sums") == 1


async def test_a_file_that_cannot_be_read_is_a_usage_error(pilotcommit: Command, tmp_path: Path) -> None:
    said = await pilotcommit("pool", "add", "sums", str(tmp_path / "missing"))
    assert said.code == 2
    assert "cannot be read" in said.err
