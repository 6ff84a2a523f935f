"""`pilotcommit doctor`: what it shows, and its exit code."""

import json
from pathlib import Path

import pytest

from inference.fake import FakeConfig, FakeServer, create_fake
from tests.scheduler.cli.conftest import Command
from tests.scheduler.served import listening


async def test_a_deployment_that_is_well_has_no_problem(
    pilotcommit: Command, model_folder: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"MODEL": str(model_folder), "REDIS_URL": redis_url, "DATA_DIR": str(tmp_path), "PORT": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"PILOTCOMMIT_{name}", value)
    async with listening(create_fake(FakeServer(FakeConfig(model_path=str(model_folder))))) as server:
        said = await pilotcommit("doctor", "--server", server, "--weights", str(tmp_path), "--json")
    report = json.loads(said.out)
    told = {one["check"]: one for one in report["findings"]}
    assert said.code == 0, report
    assert {"settings", "Redis", "rewards", "weights", "tokens", "scheduler", f"server {server}"} <= told.keys()
    assert told[f"server {server}"]["level"] == told["scheduler"]["level"] == told["Redis"]["level"] == "ok"


async def test_a_problem_is_the_exit_code_and_has_what_to_do(
    pilotcommit: Command, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTCOMMIT_REDIS_URL", "redis://127.0.0.1:1/0")
    said = await pilotcommit("doctor", "--model", str(model_folder), "--server", "http://127.0.0.1:1")
    assert said.code == 1
    assert "\N{RIGHTWARDS ARROW} start it, correct PILOTCOMMIT_REDIS_URL" in " ".join(said.out.split())
    assert "2 problems" in said.out
