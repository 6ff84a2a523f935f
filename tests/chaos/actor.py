"""A process that things happen to.

Owns: signals, the disk and the clock of one supervised process. Never starts it by itself: its life does. Invariant: a
blow that found nobody (the process was between two lives) says so.
"""

import asyncio
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.child import Child
from tests.chaos.processes.shifted import VARIABLE, set_offset

_SHIFTED = "tests.chaos.processes.shifted"
_UNLIMITED = resource.RLIM_INFINITY


@dataclass(slots=True, kw_only=True, eq=False)
class Actor:
    """One process, started again whenever it ends."""

    name: str
    live: Callable[[], Awaitable[None]]
    """One series of lives; when it returns, it is called again."""
    pid_now: Callable[[], int | None]
    deaths: Callable[[], int]
    clock: Path | None = None
    """Where its clock's offset is; None for one whose clock cannot be moved."""
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Consumes: its exits. Produces: a running process. Waits for: its exit. Ends when cancelled."""
        while True:
            await self.live()

    def kill(self) -> bool:
        """SIGKILL."""
        return self._signal(signal.SIGKILL)

    def stop(self) -> bool:
        """SIGTERM."""
        return self._signal(signal.SIGTERM)

    def freeze(self, for_s: float) -> bool:
        """SIGSTOP to it and its children, and SIGCONT after a while."""
        pid = self.pid_now()
        if pid is None or not _to_group(pid, signal.SIGSTOP):
            return False
        self._later(for_s, lambda: _to_group(pid, signal.SIGCONT))
        return True

    def fill_disk(self, for_s: float) -> bool:
        """Its files cannot grow beyond what some of them have, and can again after a while."""
        pid = self.pid_now()
        if pid is None or not _limit_files(pid, 1):
            return False
        self._later(for_s, lambda: _limit_files(pid, _UNLIMITED))
        return True

    def jump(self, offset_s: float) -> bool:
        """Its wall-clock is off by so much from now on."""
        if self.clock is None or self.pid_now() is None:
            return False
        set_offset(self.clock, offset_s)
        return True

    async def settled(self) -> None:
        """Return when nothing is frozen or full any more."""
        await asyncio.gather(*self._under_way)

    def _signal(self, number: signal.Signals) -> bool:
        pid = self.pid_now()
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _later(self, after_s: float, undo: Callable[[], object]) -> None:
        async def wait() -> None:
            try:
                await asyncio.sleep(after_s)
            finally:
                undo()

        task = asyncio.create_task(wait())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


def actor(
    name: str,
    module: str,
    *arguments: str,
    folder: Path,
    environment: dict[str, str] | None = None,
    shifts: bool = True,
    pause_s: float = 0.2,
) -> Actor:
    """A module of ours as an actor; `shifts` gives it a clock that can be moved, `pause_s` is between two lives."""
    clock = folder / f"{name}.clock"
    if shifts:
        set_offset(clock, 0.0)
    child = Child(
        name=name,
        module=_SHIFTED if shifts else module,
        arguments=(module, *arguments) if shifts else arguments,
        environment={**(environment or {}), VARIABLE: str(clock)},
        log_path=folder / "logs" / f"{name}.log",
        # It is killed for as long as the plan goes on: each life counts as the first.
        steady_s=0.0,
        first_pause_s=pause_s,
        stop_grace_s=5.0,
    )
    return Actor(
        name=name,
        live=child.run,
        pid_now=lambda: child.pid,
        deaths=lambda: len(child.restarts),
        clock=clock if shifts else None,
    )


def _to_group(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
        return True
    return False


def _limit_files(pid: int, size: int) -> bool:
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, _UNLIMITED))
        return True
    return False
