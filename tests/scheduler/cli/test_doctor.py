"""`pilotcommit doctor`: what it shows, and its exit code."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from inference.fake import FakeConfig, FakeServer, create_fake
from tests.scheduler.cli.conftest import Said
from tests.scheduler.served import listening


async def doctor(*arguments: str, **settings: str) -> Said:
    """In a process of its own: the command sets up how its process logs."""
    environment: Mapping[str, str] = {f"PILOTCOMMIT_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; from scheduler.cli import main; sys.exit(main())", "doctor", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Said(code=process.returncode, out=out.decode(), err=err.decode())


async def test_a_deployment_that_is_well_has_no_problem(
    url: str, model_folder: Path, redis_url: str, tmp_path: Path
) -> None:
    settings = {"MODEL": str(model_folder), "REDIS_URL": redis_url, "DATA_DIR": str(tmp_path), "PORT": "0", "URL": url}
    async with listening(create_fake(FakeServer(FakeConfig(model_path=str(model_folder))))) as server:
        said = await doctor("--server", server, "--weights", str(tmp_path), "--json", **settings)
    report = json.loads(said.out)
    told = {one["check"]: one for one in report["findings"]}
    assert (said.code, said.err) == (0, ""), report
    assert {"settings", "Redis", "rewards", "weights", "tokens", "scheduler", f"server {server}"} <= told.keys()
    assert told[f"server {server}"]["level"] == told["scheduler"]["level"] == told["Redis"]["level"] == "ok"


async def test_a_problem_is_the_exit_code_and_has_what_to_do(model_folder: Path) -> None:
    here = {"REDIS_URL": "redis://127.0.0.1:1/0", "PORT": "0"}
    said = await doctor("--model", str(model_folder), "--server", "http://127.0.0.1:1", **here)
    assert said.code == 1
    assert "\N{RIGHTWARDS ARROW} start it, correct PILOTCOMMIT_REDIS_URL" in " ".join(said.out.split())
    assert "2 problems" in said.out
