import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from inference.launch import ServerSpec
from inference.supervisor import RestartPacing, Supervisor
from scheduler.core.errors import ServerUnavailable
from tests.inference.processes import gone, group_members, polled

QUICK = RestartPacing(first_s=0.0, start_timeout_s=20.0)


def supervise(spec: ServerSpec, stand_in: Path, log_path: Path, current: Callable[[], Path]) -> Supervisor:
    return Supervisor(spec, python=stand_in, log_path=log_path, current_model=current, pacing=QUICK)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def die(spec: ServerSpec) -> None:
    async with httpx.AsyncClient(base_url=spec.base_url, trust_env=False) as http:
        with pytest.raises(httpx.TransportError):
            await http.get("/die")


async def restarted(supervisor: Supervisor, count: int) -> None:
    await polled(lambda: supervisor.num_restarts >= count and supervisor.is_ready)


async def test_a_server_that_dies_comes_back_with_the_weights_of_then(
    spec: ServerSpec, stand_in: Path, tmp_path: Path
) -> None:
    current = ["first"]
    supervisor = supervise(spec, stand_in, tmp_path / "log", lambda: Path(current[0]))
    running = asyncio.create_task(supervisor.run())
    await supervisor.wait_ready()
    current[0] = "second"
    await die(spec)
    await restarted(supervisor, 1)
    await ended(running)
    served = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("serving")]
    assert served == ["serving first", "serving second"]


async def test_cancelling_leaves_no_process(spec: ServerSpec, stand_in: Path, tmp_path: Path) -> None:
    supervisor = supervise(spec, stand_in, tmp_path / "log", lambda: tmp_path)
    running = asyncio.create_task(supervisor.run())
    await supervisor.wait_ready()
    pid = supervisor.pid
    assert pid is not None
    assert group_members(pid)
    await ended(running)
    assert gone(pid)
    assert (supervisor.pid, supervisor.is_ready) == (None, False)


async def test_a_first_start_that_fails_is_an_error_not_a_loop(
    spec: ServerSpec, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "exit")
    supervisor = supervise(spec, stand_in, tmp_path / "log", lambda: tmp_path)
    with pytest.raises(ServerUnavailable, match="no such model"):
        await supervisor.run()


async def test_a_restart_that_fails_is_tried_again(
    spec: ServerSpec, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = supervise(spec, stand_in, tmp_path / "log", lambda: tmp_path)
    running = asyncio.create_task(supervisor.run())
    await supervisor.wait_ready()
    monkeypatch.setenv("STAND_IN", "exit")
    await die(spec)
    await polled(lambda: supervisor.num_restarts >= 2)
    monkeypatch.setenv("STAND_IN", "serve")
    await restarted(supervisor, 2)
    await ended(running)


async def test_a_server_that_keeps_dying_is_left_dead_with_its_last_words(
    spec: ServerSpec, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    pacing = RestartPacing(first_s=0.0, max_deaths=3, start_timeout_s=20.0)
    supervisor = Supervisor(
        spec,
        python=stand_in,
        log_path=tmp_path / "log",
        current_model=lambda: tmp_path,
        pacing=pacing,
        on_death=said.append,
    )
    running = asyncio.create_task(supervisor.run())
    await supervisor.wait_ready()
    monkeypatch.setenv("STAND_IN", "exit")
    await die(spec)
    with pytest.raises(ServerUnavailable, match=r"died 3 times in a row; .*\n(.*\n)*.*no such model"):
        await running
    assert len(said) == 2
    assert all(spec.base_url in line and "started again" in line for line in said)


def test_waits_double_up_to_the_longest() -> None:
    pacing = RestartPacing(first_s=1.0, longest_s=5.0)
    assert [pacing.wait_s(deaths) for deaths in (1, 2, 3, 4, 500)] == [1.0, 2.0, 4.0, 5.0, 5.0]
