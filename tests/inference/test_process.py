import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference.interpreter import sglang_python
from inference.launch import ServerSpec
from inference.process import SGLangProcess
from scheduler.core.errors import InvalidInput, ServerUnavailable
from tests.inference.processes import gone, group_members
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[2]

PARENT = """
import asyncio, sys
from pathlib import Path
from inference.launch import ServerSpec
from inference.process import SGLangProcess

async def main() -> None:
    spec = ServerSpec(model_path=Path(sys.argv[1]), port=int(sys.argv[2]))
    process = await SGLangProcess.start(spec, python=Path(sys.argv[3]), log_path=Path(sys.argv[4]))
    await process.wait_ready(150.0)
    print(process.pid, file=sys.stderr, flush=True)
    await process.wait()

asyncio.run(main())
"""


async def started(spec: ServerSpec, stand_in: Path, tmp_path: Path) -> SGLangProcess:
    return await SGLangProcess.start(spec, python=stand_in, log_path=tmp_path / "logs" / "server.log")


async def test_stopping_ends_the_server_and_its_children(spec: ServerSpec, stand_in: Path, tmp_path: Path) -> None:
    process = await started(spec, stand_in, tmp_path)
    await process.wait_ready(20.0)
    assert len(group_members(process.pid)) >= 2
    await process.stop()
    assert gone(process.pid)


async def test_a_server_that_ignores_the_request_to_stop_is_killed(
    spec: ServerSpec, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "stubborn")
    process = await started(spec, stand_in, tmp_path)
    await process.wait_ready(20.0)
    await process.stop(grace_s=0.2)
    assert process.returncode == -signal.SIGKILL
    assert gone(process.pid)


async def test_when_the_leader_dies_its_children_are_taken_along(
    spec: ServerSpec, stand_in: Path, tmp_path: Path
) -> None:
    process = await started(spec, stand_in, tmp_path)
    await process.wait_ready(20.0)
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert gone(process.pid)


async def test_a_server_that_exits_while_starting_says_its_last_words(
    spec: ServerSpec, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "exit")
    process = await started(spec, stand_in, tmp_path)
    with pytest.raises(ServerUnavailable, match=r"(?s)status 1.*no such model: that is why"):
        await process.wait_ready(20.0)


async def test_a_server_that_is_never_ready_is_given_up_at_the_deadline(
    spec: ServerSpec, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "silent")
    process = await started(spec, stand_in, tmp_path)
    with pytest.raises(ServerUnavailable, match=r"not ready after 1 s"):
        await process.wait_ready(1.0)
    await process.stop()


async def test_a_port_in_use_is_refused_before_another_server_is_taken_for_ours(
    spec: ServerSpec, stand_in: Path, tmp_path: Path
) -> None:
    first = await started(spec, stand_in, tmp_path)
    await first.wait_ready(20.0)
    with pytest.raises(InvalidInput, match=str(spec.port)):
        await started(spec, stand_in, tmp_path)
    await first.stop()


def start_parent(model: Path, spec: ServerSpec, python: Path, log_path: Path) -> tuple[subprocess.Popen[str], int]:
    argv = [sys.executable, "-c", PARENT, str(model), str(spec.port), str(python), str(log_path)]
    parent = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    said = parent.stderr.readline()
    assert said.strip().isdigit(), said + parent.stderr.read()
    return parent, int(said)


def kill(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.wait()
    assert parent.stderr is not None
    parent.stderr.close()


def test_a_server_dies_with_a_parent_that_is_killed(spec: ServerSpec, stand_in: Path, tmp_path: Path) -> None:
    parent, pgid = start_parent(spec.model_path, spec, stand_in, tmp_path / "log")
    kill(parent)
    # The stand-in's child has no parent-death signal of its own; SGLang's children have.
    deadline = time.monotonic() + 20.0
    while pgid in group_members(pgid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pgid not in group_members(pgid)
    os.killpg(pgid, signal.SIGKILL)
    assert gone(pgid)


@pytest.mark.sglang
@pytest.mark.timeout(240)
def test_all_of_a_real_server_dies_with_a_parent_that_is_killed(spec: ServerSpec, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    parent, pgid = start_parent(model, spec, sglang_python(), tmp_path / "log")
    assert len(group_members(pgid)) >= 3
    kill(parent)
    assert gone(pgid, deadline_s=60.0)


async def test_nothing_is_left_when_the_waiting_is_cancelled(spec: ServerSpec, stand_in: Path, tmp_path: Path) -> None:
    process = await started(spec, stand_in, tmp_path)
    waiting = asyncio.create_task(process.wait_ready(20.0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await process.stop()
    assert gone(process.pid)
