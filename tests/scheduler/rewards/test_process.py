"""One worker process: it hides its pipes, ignores Ctrl-C, and dies with its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from scheduler.rewards.process import Lost, WorkerProcess
from scheduler.rewards.spec import RewardJob, RewardSpec, parse_spec
from scheduler.rewards.wire import Judged, Loaded, Reply, Task

OBEDIENT = parse_spec("python:tests.scheduler.rewards.sample_rewards:obedient")
DEADLINE_S = 20.0

PARENT = """
import asyncio
from scheduler import logs
from scheduler.rewards.process import WorkerProcess
from scheduler.rewards.spec import RewardJob, parse_spec
from scheduler.rewards.wire import Task

logs.configure("WARNING")

async def main():
    worker = await WorkerProcess.start()
    spec = parse_spec("python:tests.scheduler.rewards.sample_rewards:obedient")
    worker.send(Task(spec=spec, jobs=(RewardJob(text="hang", answer=""),)))
    await worker.receive(20)
    print(worker.pid, flush=True)
    await worker.receive(600)

asyncio.run(main())
"""


@pytest.fixture
async def worker() -> AsyncIterator[WorkerProcess]:
    started = await WorkerProcess.start()
    yield started
    await started.kill()


async def _ask(worker: WorkerProcess, *texts: str, spec: RewardSpec = OBEDIENT) -> list[Reply]:
    worker.send(Task(spec=spec, jobs=tuple(RewardJob(text=text, answer="") for text in texts)))
    replies: list[Reply] = []
    while len(replies) < 1 + len(texts):
        got = await worker.receive(DEADLINE_S)
        assert not isinstance(got, Lost)
        replies.extend(got)
    return replies


async def test_what_a_reward_prints_never_reaches_the_wire_nor_our_stdout(
    worker: WorkerProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    with capture_logs() as lines:
        assert await _ask(worker, "print", "print") == [Loaded(), Judged(1.0, True), Judged(1.0, True)]
        await worker.kill()
    assert capfd.readouterr().out == ""
    assert [(line["event"], line["text"]) for line in lines] == [("reward_printed", "a reward's chatter")] * 2


async def test_a_reward_that_reads_stdin_finds_it_empty(worker: WorkerProcess) -> None:
    assert await _ask(worker, "read", "go on") == [Loaded(), Judged(1.0, True), Judged(1.0, True)]


async def test_a_worker_ignores_ctrl_c(worker: WorkerProcess) -> None:
    os.kill(worker.pid, signal.SIGINT)
    assert await _ask(worker, "go on") == [Loaded(), Judged(1.0, True)]


async def test_a_worker_is_idle_only_when_everything_is_answered(worker: WorkerProcess) -> None:
    assert worker.is_idle()
    worker.send(Task(spec=OBEDIENT, jobs=(RewardJob(text="hang", answer=""),)))
    assert await worker.receive(DEADLINE_S) == [Loaded()]
    assert not worker.is_idle()
    lost = await worker.receive(0.05)
    assert lost == Lost(reason="took longer than 0.05 s and was killed", timed_out=True)
    assert not worker.is_idle()
    assert not _exists(worker.pid)


async def test_a_worker_that_dies_says_how(worker: WorkerProcess) -> None:
    worker.send(Task(spec=OBEDIENT, jobs=(RewardJob(text="die", answer=""),)))
    assert await worker.receive(DEADLINE_S) == [Loaded()]
    assert await worker.receive(DEADLINE_S) == Lost(reason="its worker died (SIGKILL)", timed_out=False)


def test_a_busy_worker_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker_pid = int(parent.stdout.readline())
        assert _exists(worker_pid)
        parent.kill()
    deadline = time.monotonic() + DEADLINE_S
    while _exists(worker_pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _exists(worker_pid)


def _exists(pid: int) -> bool:
    """Whether the process runs; one that is dead and not reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False
