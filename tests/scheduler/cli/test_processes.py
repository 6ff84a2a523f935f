"""`pilotcommit up` and `pilotcommit demo`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

_PILOTCOMMIT = (sys.executable, "-c", "import sys; from scheduler.cli import main; sys.exit(main())")
WIDE = {"COLUMNS": "200"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_up_serves_until_a_signal_and_leaves_nothing_behind(
    model_folder: Path, redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *_PILOTCOMMIT,
        *("up", "--json", "--model", str(model_folder), "--server", "http://127.0.0.1:9", "--port", "0"),
        *("--redis", redis_url, "--no-learners", "--dir", str(tmp_path / "state")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())
    assert ready["dir"] == str(tmp_path / "state")
    async with httpx.AsyncClient(base_url=ready["url"], trust_env=False) as http:
        assert (await http.get("/readyz")).is_success
        process.send_signal(number)
        out, err = await process.communicate()
        assert (process.returncode, out) == (0, b"")
        assert b"stopped" in err
        with pytest.raises(httpx.ConnectError):
            await http.get("/readyz")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [(("up",), 2, "has no config.json"), (("demo", "--json", "--out", "out"), 1, "is no model folder")],
)
def test_a_folder_without_a_model_is_refused_with_the_reason(
    tmp_path: Path, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    # In a process of its own: the command sets up how its process logs.
    command = [*_PILOTCOMMIT, *arguments, "--model", "."]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ | WIDE)
    assert (said.returncode, said.stdout) == (code, "")
    assert reason in said.stderr
