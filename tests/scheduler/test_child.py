"""A child is kept alive while it is wanted, and gone when it is not."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler.child import Child, ChildFailed

MODULE = "tests.scheduler.sample_child"
DEADLINE_S = 20.0


def _child(
    folder: Path, *arguments: str, max_restarts: int = 0, steady_s: float = 60.0, grace_s: float = 20.0
) -> Child:
    return Child(
        name="sample",
        module=MODULE,
        environment={"SAMPLE_SETTING": "given"},
        log_path=folder / "logs" / "sample.log",
        arguments=arguments,
        max_restarts=max_restarts,
        steady_s=steady_s,
        first_pause_s=0.01,
        stop_grace_s=grace_s,
    )


def _is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _words(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def _log_of(child: Child) -> Path:
    assert child.log_path is not None
    return child.log_path


async def _logged(log: Path, name: str) -> int:
    """The number a child logs under a name, once it does."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            words = _words(log)
            if name in words[:-1]:
                return int(words[words.index(name) + 1])
            await asyncio.sleep(0.01)


async def _gone(pid: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        # Another process: there is nothing to wait for but its end.
        while _is_alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _running(child: Child) -> AsyncIterator[int]:
    """A running child's pid; it is cancelled with the block."""
    task = asyncio.create_task(child.run())
    try:
        yield await _logged(_log_of(child), "pid")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_child_that_exits_with_0_is_done(tmp_path: Path) -> None:
    child = _child(tmp_path, "exit", "0")
    await child.run()
    assert child.restarts == []


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    child = _child(tmp_path, "recover", str(tmp_path / "book"), "2", max_restarts=2)
    await child.run()
    assert child.restarts == [7, 7]


async def test_a_child_that_keeps_dying_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, "exit", "3", max_restarts=1)
    with pytest.raises(ChildFailed, match=r"sample died 2 times, last with code 3") as failure:
        await child.run()
    assert str(failure.value).count("exits with 3") == 2
    assert str(child.log_path) in str(failure.value)


async def test_every_death_that_is_followed_by_a_restart_is_told(tmp_path: Path) -> None:
    child, said = _child(tmp_path, "recover", str(tmp_path / "book"), "1", max_restarts=1), list[str]()
    child.on_death = said.append
    await child.run()
    assert said == [f"the sample died with exit code 7: it is started again in 0.01 s; log: {child.log_path}"]


async def test_a_child_that_is_killed_is_said_to_have_been(tmp_path: Path) -> None:
    child, told = _child(tmp_path, "obey", max_restarts=1), asyncio.Queue[str]()
    child.on_death = told.put_nowait
    async with _running(child) as pid:
        os.kill(pid, signal.SIGKILL)
        assert "the sample was killed by SIGKILL" in await asyncio.wait_for(told.get(), DEADLINE_S)


async def test_an_exit_code_that_is_final_is_not_tried_again(tmp_path: Path) -> None:
    child = _child(tmp_path, "exit", "3", max_restarts=5)
    child.final_codes = frozenset({3})
    with pytest.raises(ChildFailed, match="ended with code 3"):
        await child.run()
    assert _log_of(child).read_text().count("exits") == 1


async def test_deaths_after_steady_lives_are_not_added_up(tmp_path: Path) -> None:
    child = _child(tmp_path, "recover", str(tmp_path / "book"), "4", max_restarts=1, steady_s=0.0)
    await child.run()
    assert child.restarts == [7] * 4


async def test_its_settings_are_added_to_the_environment(tmp_path: Path) -> None:
    child = _child(tmp_path, "environment", "SAMPLE_SETTING")
    await child.run()
    assert _log_of(child).read_text() == "given\n"
    await _child(tmp_path, "environment", "PATH").run()
    assert os.environ["PATH"] in _log_of(child).read_text()


async def test_a_cancelled_child_stops_in_order(tmp_path: Path) -> None:
    child = _child(tmp_path, "obey")
    async with _running(child) as pid:
        assert _is_alive(pid)
    assert not _is_alive(pid)
    assert _log_of(child).read_text().endswith("stops in order\n")


async def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    async with _running(_child(tmp_path, "refuse", grace_s=0.1)) as pid:
        assert _is_alive(pid)
    assert not _is_alive(pid)


async def test_what_a_child_started_goes_with_it(tmp_path: Path) -> None:
    child = _child(tmp_path, "breed")
    async with _running(child):
        grandchild = await _logged(_log_of(child), "child")
        assert _is_alive(grandchild)
    await _gone(grandchild)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's tie to a parent is Linux's")
async def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from scheduler.child import Child\n"
        "log = pathlib.Path(sys.argv[1])\n"
        f"child = Child(name='c', module='{MODULE}', environment={{}}, log_path=log, arguments=('refuse',))\n"
        "asyncio.run(child.run())\n"
    )
    log = tmp_path / "log"
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(log))
    try:
        pid = await _logged(log, "pid")
    finally:
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
    await _gone(pid)


def test_a_child_that_wrote_nothing_has_no_last_words(tmp_path: Path) -> None:
    assert "wrote nothing" in _child(tmp_path, "exit", "0").last_words()
