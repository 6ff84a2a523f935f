"""Every process of the service, started and stopped in order."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from inference.fake import FakeConfig, FakeServer, create_fake
from scheduler.client import Client, Json
from scheduler.core.errors import InvalidInput, ServerUnavailable
from scheduler.ports import free_port, is_free
from scheduler.stack import Stack, StackPlan, newest_weights
from tests.inference.processes import polled
from tests.scheduler.served import listening

DEADLINE_S = 60.0


def _stack(
    model: Path,
    folder: Path,
    *servers: str,
    learners: bool = False,
    port: int = 0,
    metrics_port: int = 0,
    said: list[str] | None = None,
    **learner_settings: str,
) -> Stack:
    plan = StackPlan(
        model=model,
        folder=folder,
        port=port,
        servers=servers or ("http://127.0.0.1:1",),
        learners=learners,
        learner_metrics_port=metrics_port,
        scheduler_settings={"NUM_REWARD_WORKERS": "1", "PROBE_INTERVAL_S": "0.1"},
        learner_settings={"DEVICE": "cpu", "PUBLISH_FORMAT": "float32", "AUTOCAST": "float32", **learner_settings},
    )
    return Stack(plan, say=(said if said is not None else []).append)


@asynccontextmanager
async def _running(stack: Stack) -> AsyncIterator[Client]:
    """A client of a stack that is up; it is stopped with the block."""
    running = asyncio.create_task(stack.run())
    ready = asyncio.create_task(stack.wait_ready())
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        with Client(stack.url) as client:
            yield client
    finally:
        ready.cancel()
        running.cancel()
        await asyncio.gather(running, ready, return_exceptions=True)


async def _until(ask: Callable[[], Json], condition: Callable[[Json], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        # Other processes: there is nothing to wait for but their answer.
        while not condition(await _answer(ask)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _answer(ask: Callable[[], Json]) -> Json:
    """What a scheduler says, once it is there to say it."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await asyncio.to_thread(ask)
            except ServerUnavailable:
                await asyncio.sleep(0.05)


def _is_said(said: list[str], *words: str) -> bool:
    """Whether one line has all of these words."""
    return any(all(each in line for each in words) for line in said)


def _fake(model: Path) -> FakeServer:
    return FakeServer(FakeConfig(model_path=str(model), weight_version="launch"))


def _submit(client: Client, model: Path) -> None:
    client.create_pool("sums", tokenizer=str(model), reward="python:tests.e2e.rewards:starts_even")
    client.add_prompts("sums", ({"id": f"p{number}", "text": f"{number} +"} for number in range(20)))
    client.create_run(
        {
            "run_id": "run",
            "pool": "sums",
            "pilots": 2,
            "commits": 2,
            "batch_size": 2,
            "sampling": {"max_new_tokens": 4, "ignore_eos": True},
            "budget": {"rollouts": 100_000},
        }
    )


def test_the_newest_weights_are_those_that_are_still_there(tmp_path: Path) -> None:
    assert newest_weights(tmp_path) is None
    for age, run in enumerate(("older", "newer", "broken")):
        weights = tmp_path / "runs" / run / "weights"
        (weights / "step-1").mkdir(parents=True)
        (weights / "current").symlink_to("step-1")
        os.utime(weights / "current", (age, age), follow_symlinks=False)
    (tmp_path / "runs" / "broken" / "weights" / "step-1").rmdir()
    assert newest_weights(tmp_path) == (tmp_path / "runs" / "newer" / "weights" / "step-1").resolve()


async def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        stack = _stack(tmp_path, tmp_path, port=other.getsockname()[1])
        with pytest.raises(InvalidInput, match=r"port \d+ is taken"):
            await stack.run()
    assert stack.children == {}


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
    assert is_free(taken)


@pytest.mark.e2e
async def test_a_scheduler_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as failure:
        await _stack(tmp_path, tmp_path).run()
    [error] = failure.value.split(ServerUnavailable)[0].exceptions  # type: ignore[union-attr]  # there is one
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    assert "config.json" in str(error)


@pytest.mark.e2e
@pytest.mark.timeout(180)
async def test_a_run_at_work_gets_a_learner_and_all_of_it_stops_in_order(model_folder: Path, tmp_path: Path) -> None:
    async with listening(create_fake(_fake(model_folder))) as server:
        stack = _stack(model_folder, tmp_path, server, learners=True, port=free_port(), metrics_port=free_port())
        metrics = f"http://127.0.0.1:{stack.plan.learner_metrics_port}/metrics"
        async with _running(stack) as client:
            assert client.servers()[0]["url"] == server
            await asyncio.to_thread(_submit, client, model_folder)
            await _until(lambda: client.run("run"), lambda run: int(str(run["step"])) >= 2)
            async with httpx.AsyncClient(trust_env=False) as http:
                assert 'pilotcommit_learner_step{run="run"}' in (await http.get(metrics)).text
            started = time.monotonic()
        # Had the scheduler gone first, the learner would have waited for it until it was killed.
        assert time.monotonic() - started < 15.0
    log = (tmp_path / "logs" / "learner-run.log").read_text()
    assert '"event": "checkpointed"' in log.splitlines()[-2] + log.splitlines()[-1]
    assert all(child.restarts == [] for child in stack.children.values())


@pytest.mark.e2e
@pytest.mark.timeout(180)
async def test_what_is_killed_is_started_again_and_that_is_said(model_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    async with listening(create_fake(_fake(model_folder))) as server:
        stack = _stack(model_folder, tmp_path, server, learners=True, port=free_port(), said=said)
        async with _running(stack) as client:
            await asyncio.to_thread(_submit, client, model_folder)
            await _until(lambda: client.run("run"), lambda run: int(str(run["step"])) >= 1)
            for name in ("scheduler", "learner-run"):
                pid = stack.children[name].pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await polled(partial(_is_said, said, f"the {name} was killed by SIGKILL"))
            step = await _answer(lambda: client.run("run"))
            await _until(lambda: client.run("run"), lambda run: int(str(run["step"])) > int(str(step["step"])))
    assert [stack.children[name].restarts for name in ("scheduler", "learner-run")] == [[-9], [-9]]


@pytest.mark.e2e
@pytest.mark.timeout(120)
async def test_a_learner_that_cannot_start_is_given_up_and_stops_nobody_else(
    model_folder: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    async with listening(create_fake(_fake(model_folder))) as server:
        stack = _stack(model_folder, tmp_path, server, learners=True, port=free_port(), said=said, DEVICE="abacus")
        async with _running(stack) as client:
            await asyncio.to_thread(_submit, client, model_folder)
            await polled(partial(_is_said, said, "giving up", "abacus"), DEADLINE_S)
            await _until(lambda: client.run("run"), lambda run: run["waiting_for"] == "a learner to attach")
