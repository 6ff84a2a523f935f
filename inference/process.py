"""One running SGLang server as a group of processes.

Owns: its start, its readiness, its log file and its end. Never restarts it (inference.supervisor does). Invariant: no
process of the group outlives `stop`, and none outlives this process, not even when it is killed by SIGKILL.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import structlog

from inference.launch import ServerSpec, launch_command
from inference.parent import die_with_parent
from scheduler.core.errors import InvalidInput, ServerUnavailable

_TAIL_BYTES = 4000
_TAIL_LINES = 15
_POLL_S = 0.5
_PROGRESS_S = 10.0

logger = structlog.get_logger(__name__)


class SGLangProcess:
    """A server that was started; `stop` ends it."""

    def __init__(self, process: asyncio.subprocess.Process, base_url: str, log_path: Path) -> None:
        self.base_url = base_url
        self.log_path = log_path
        self._process = process

    @classmethod
    async def start(cls, spec: ServerSpec, *, python: Path, log_path: Path) -> "SGLangProcess":
        """Start the server in a session of its own, its output appended to `log_path`.

        Call it from a thread that lives as long as the server may: the kernel ties the server to that thread. Raises
        InvalidInput if somebody listens on the port already, whom `wait_ready` would take for the new server.
        """
        _require_free(spec.host, spec.port)
        command = launch_command(spec, python)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=os.environ | command.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        logger.info("sglang_started", url=spec.base_url, pid=process.pid, log=str(log_path))
        return cls(process, spec.base_url, log_path)

    @property
    def pid(self) -> int:
        """Of the leader, and the id of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def wait_ready(self, timeout_s: float, progress: Callable[[float], None] | None = None) -> None:
        """Wait until it serves; `progress` is told the seconds waited, every ten.

        Raises ServerUnavailable with the last lines of its log if it exits or takes longer than `timeout_s`.
        """
        started, told = time.monotonic(), 0.0
        async with httpx.AsyncClient(base_url=self.base_url, timeout=5.0, trust_env=False) as http:
            while not await _is_ready(http):
                waited = time.monotonic() - started
                if self.returncode is not None:
                    raise ServerUnavailable(f"{self.describe_exit()} while starting")
                if waited > timeout_s:
                    raise ServerUnavailable(f"SGLang was not ready after {timeout_s:g} s; {self._last_words()}")
                if progress is not None and waited - told >= _PROGRESS_S:
                    told = waited
                    progress(waited)
                await asyncio.sleep(_POLL_S)
        logger.info("sglang_ready", url=self.base_url, waited_s=round(time.monotonic() - started, 1))

    async def wait(self) -> int:
        """Wait until the leader exits, end what is left of the group, and return the leader's exit status."""
        returncode = await self._process.wait()
        self._signal(signal.SIGKILL)
        return returncode

    async def stop(self, grace_s: float = 15.0) -> None:
        """Ask the group to end, and kill what has not after `grace_s`."""
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_s)
        self._signal(signal.SIGKILL)
        await self._process.wait()
        logger.info("sglang_stopped", url=self.base_url, pid=self.pid)

    def describe_exit(self) -> str:
        """How it ended and what it said last."""
        return f"SGLang exited with status {self.returncode}; {self._last_words()}"

    def _signal(self, number: signal.Signals) -> None:
        # The group exists as long as one of its members does, the leader or not.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _last_words(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return f"the end of {self.log_path}:\n" + "\n".join(lines)


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise InvalidInput(f"cannot listen on {host}:{port}: {exc.strerror}", field="port") from exc


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/ready")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
