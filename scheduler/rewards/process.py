"""One reward worker process, seen from the scheduler.

Owns: starting it, sending it one task at a time, reading its replies, killing it. Never decides which job is
to blame (the pool does). Invariant: a worker that is not idle is never given another task.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from scheduler.core.errors import InvalidInput, PilotCommitError
from scheduler.rewards.chatter import relay
from scheduler.rewards.environment import harmless
from scheduler.rewards.isolation import DEFAULT, Confinement, Isolation, IsolationMode
from scheduler.rewards.wire import Ready, Refused, Reply, ReplyDecoder, Task, encode

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 16
_LATE_S = 0.1
_REAP_TIMEOUT_S = 5.0
# The parent's import path but not its __main__ module: multiprocessing would import the whole scheduler again.
_BOOT = (
    "import sys; parent, confinement = int(sys.argv[1]), sys.argv[2]; sys.path[:] = sys.argv[3:]; "
    "from scheduler.rewards.worker import main; main(parent, confinement)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The worker is gone; whatever it had not answered is unanswered."""

    reason: str
    timed_out: bool
    """Killed because it was too slow, rather than dead by itself."""


class WorkerProcess:
    """A started worker. Made by `start`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._decoder = ReplyDecoder()
        self._unanswered = 0
        self._lost = False
        self.isolation = Isolation()
        """What the system granted."""
        assert process.stderr is not None, "started with a pipe"
        self._chatter = asyncio.create_task(relay(process.stderr, process.pid), name=f"reward-chatter-{process.pid}")

    @classmethod
    async def start(cls, confinement: Confinement = DEFAULT) -> "WorkerProcess":
        """Start a worker and wait until it reads tasks.

        Raises PilotCommitError if it does not come up, or cannot be shut in as it must be.
        """
        asked = msgspec.json.encode(confinement).decode()
        command = (sys.executable, "-P", "-c", _BOOT, str(os.getpid()), asked, *_import_path())
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                start_new_session=True,
                env=harmless(os.environ, confinement.environment),
            )
        except OSError as exc:
            raise PilotCommitError(f"a reward worker could not be started: {exc}") from exc
        worker = cls(process)
        try:
            await worker._come_up(confinement.mode)
        except (PilotCommitError, asyncio.CancelledError):
            await worker.kill()
            raise
        log.info("reward_worker_started", pid=worker.pid)
        return worker

    async def _come_up(self, mode: IsolationMode) -> None:
        self._unanswered = 1
        match await self.receive(START_TIMEOUT_S):
            case [Ready(isolation=isolation)]:
                self.isolation = isolation
            case [Refused(reason=reason)]:
                raise PilotCommitError(f"no reward worker starts: {reason}")
            case other:
                raise PilotCommitError(f"a reward worker did not start: {other}")
        if mode is IsolationMode.REQUIRED and (lacking := self.isolation.lacking()):
            raise PilotCommitError(
                f"rewards cannot be isolated here ({lacking}): PILOTCOMMIT_REWARD_ISOLATION=best_effort starts without"
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def is_idle(self) -> bool:
        """Alive, as far as is known, and every task answered in full."""
        return not self._lost and self._unanswered == 0 and self._process.returncode is None

    async def receive(self, timeout_s: float) -> list[Reply] | Lost:
        """The next replies, at least one; or Lost: the worker is dead, by its own doing or killed here."""
        replies: list[Reply] = []
        while not replies:
            try:
                data = await self._read(timeout_s)
            except TimeoutError:
                return await self._lose(f"took longer than {timeout_s:g} s and was killed", timed_out=True)
            if not data:
                return await self._lose("its worker died", timed_out=False)
            try:
                replies.extend(self._decoder.feed(data))
            except InvalidInput as exc:
                return await self._foul(str(exc))
        if len(replies) > self._unanswered:
            return await self._foul("more answers than jobs")
        self._unanswered -= len(replies)
        if isinstance(replies[-1], Refused):
            self._unanswered = 0
        return replies

    async def _lose(self, reason: str, *, timed_out: bool) -> Lost:
        await self.kill()
        told = reason if timed_out else f"{reason} ({self._how_it_ended()})"
        log.warning("reward_worker_lost", pid=self.pid, reason=told)
        return Lost(reason=told, timed_out=timed_out)

    async def _foul(self, what: str) -> Lost:
        """A reward has written to the pipe itself: nothing of this worker is believed any more."""
        await self.kill()
        told = f"its worker was killed, for it wrote to our pipe: {what}"
        log.warning("reward_worker_lost", pid=self.pid, reason=told)
        return Lost(reason=told, timed_out=False)

    def send(self, task: Task) -> None:
        """Hand the worker a task. Raises InvalidInput if the metadata of a job cannot be sent."""
        frame = encode(task)
        self._unanswered = 1 + len(task.jobs)
        stdin = self._process.stdin
        assert stdin is not None, "started with a pipe"
        # Not drained: the worker reads a whole task before it answers, and one task is in flight at most.
        stdin.write(frame)

    async def kill(self) -> None:
        """SIGKILL the worker and whatever it started, and reap it."""
        self._lost = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REAP_TIMEOUT_S):
                await self._process.wait()
                await asyncio.shield(self._chatter)
        self._chatter.cancel()

    async def _read(self, timeout_s: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None, "started with a pipe"
        try:
            async with asyncio.timeout(timeout_s):
                return await stdout.read(_CHUNK_BYTES)
        except TimeoutError:
            # After a stall of our own event loop the timer fires before the pipe is read: look once more.
            async with asyncio.timeout(_LATE_S):
                return await stdout.read(_CHUNK_BYTES)

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is None:
            return "it closed its pipe"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _import_path() -> list[str]:
    """What the scheduler itself can import, then the current directory, which must not shadow anything."""
    here = str(Path.cwd())
    return [*(entry or here for entry in sys.path), here]
