"""`pilotcommit learners`, and the demo's run on a scheduler that is there."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from scheduler.demo.submission import HELD_OUT, POOL
from tests.scheduler.cli.conftest import Command

_PILOTCOMMIT = (sys.executable, "-c", "import sys; from scheduler.cli import main; sys.exit(main())")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_learners_wait_for_runs_until_a_signal(
    url: str, model_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *_PILOTCOMMIT,
        *("learners", "--url", url, "--model", str(model_folder), "--dir", str(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert process.stderr is not None
    assert url in (await process.stderr.readline()).decode()
    process.send_signal(number)
    _, said = await process.communicate()
    assert (process.returncode, said.decode().partition(";")[0]) == (0, "stopped")


async def test_the_demo_is_submitted_once(pilotcommit: Command, model_folder: Path) -> None:
    submit = ("demo", "--submit", "--model", str(model_folder), "--budget-rollouts", "320")
    first = json.loads((await pilotcommit(*submit, "--json")).out)
    [run] = json.loads((await pilotcommit("run", "list", "--json")).out)
    assert (run["run_id"], run["pool"]) == (first["run_id"], POOL)
    pools = json.loads((await pilotcommit("pool", "list", "--json")).out)
    assert {pool["name"] for pool in pools} == {POOL, HELD_OUT}

    again = await pilotcommit(*submit)
    assert again.code == 0
    assert "has runs already" in again.err
    assert len(json.loads((await pilotcommit("run", "list", "--json")).out)) == 1


async def test_a_submission_names_the_model_as_the_scheduler_sees_it(pilotcommit: Command) -> None:
    said = await pilotcommit("demo", "--submit")
    assert said.code == 2
    assert "--model" in said.err
