"""One child process of ours: the scheduler or a learner, beside the parent that supervises it.

Owns: its start, its restarts, its log file and its end. Never talks to it. Invariant: no child outlives `run`, nor this
process, not even when it is killed.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import structlog

from inference.parent import die_with_parent
from scheduler.core.errors import PilotCommitError

log = structlog.get_logger(__name__)

_TAIL_BYTES = 3000
_TAIL_LINES = 12
_LONGEST_PAUSE_S = 10.0


class ChildFailed(PilotCommitError):
    """A child of ours died too often; the message has the end of its log."""


@dataclass(slots=True, kw_only=True)
class Child:
    """A Python module run as a process, restarted when it dies."""

    name: str
    module: str
    environment: Mapping[str, str]
    log_path: Path | None
    """Where its output goes; None leaves it where this process's goes."""
    arguments: tuple[str, ...] = ()
    max_restarts: int = 5
    """Restarts in a row before `run` gives up."""
    steady_s: float = 60.0
    """A life of this length starts the count afresh."""
    first_pause_s: float = 1.0
    """Wait before the first restart; doubled for each that follows in a row, up to ten seconds."""
    final_codes: frozenset[int] = frozenset()
    """Exit codes after which another start would end the same way: `run` gives up at once."""
    on_death: Callable[[str], None] = lambda line: None
    """Told in a line for people of each death that is followed by a restart."""
    stop_grace_s: float = 20.0
    """How long it may take to stop after SIGTERM before it is killed."""
    restarts: list[int] = field(default_factory=list, init=False)
    """Exit codes of the lives that ended before this one."""
    pid: int | None = field(default=None, init=False)
    """Of its process group; None between two lives."""

    async def run(self) -> None:
        """Keep it running until it exits with code 0.

        Consumes: its exits. Produces: a running process. Waits for: its exit. Unblocked by: that, cancellation (which
        stops it). Raises ChildFailed when it keeps dying.
        """
        deaths = 0
        while True:
            started = time.monotonic()
            code = await self._life()
            if code == 0:
                return
            deaths = 1 if time.monotonic() - started > self.steady_s else deaths + 1
            self.restarts.append(code)
            if code in self.final_codes:
                raise ChildFailed(f"the {self.name} ended with code {code}; {self.last_words()}")
            log.warning("child_died", name=self.name, code=code, log=str(self.log_path or ""))
            if deaths > self.max_restarts:
                raise ChildFailed(f"the {self.name} died {deaths} times, last with code {code}; {self.last_words()}")
            pause_s = min(_LONGEST_PAUSE_S, self.first_pause_s * 2.0 ** (deaths - 1))
            where = f"; log: {self.log_path}" if self.log_path else ""
            self.on_death(f"the {self.name} {_how(code)}: it is started again in {pause_s:g} s{where}")
            await asyncio.sleep(pause_s)

    async def _life(self) -> int:
        with self._output() as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                *self.arguments,
                env={**os.environ, **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else asyncio.subprocess.STDOUT,
                # Of a session of its own, so that Ctrl-C reaches the parent alone, which stops its children in order.
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self.pid = process.pid
        try:
            return await process.wait()
        finally:
            self.pid = None
            await asyncio.shield(self._stop(process))

    @contextmanager
    def _output(self) -> Iterator[BinaryIO | None]:
        if self.log_path is None:
            yield None
            return
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as output:
            yield output

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self.stop_grace_s)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        if self.log_path is None:
            return "its last words are above"
        if not self.log_path.exists():
            return f"it wrote nothing to {self.log_path}"
        with self.log_path.open("rb") as output:
            output.seek(max(0, self.log_path.stat().st_size - _TAIL_BYTES))
            lines = output.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return f"the end of {self.log_path}:\n" + "\n".join(lines)


def _how(code: int) -> str:
    """How a process with this exit code ended."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"died with exit code {code}"
