"""Keeps one SGLang server running.

Owns: when it is started again, and with which weights. Never talks to it: it does not know which version it serves; the
fleet finds it STALE and pushes. Invariant: at most one process group at a time, and none after `run` has ended.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from inference.launch import ServerSpec
from inference.process import SGLangProcess
from scheduler.core.errors import ServerUnavailable

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPacing:
    """How soon a server that died comes back."""

    first_s: float = 1.0
    """Wait before the first restart; doubled for each that follows."""
    longest_s: float = 60.0
    """No wait is longer."""
    steady_s: float = 120.0
    """A server that lived this long after it was ready starts the count afresh."""
    max_deaths: int = 10
    """Deaths in a row after which it is left dead: with the waits above, after some minutes."""
    start_timeout_s: float = 600.0
    """Loading a large model takes minutes."""

    def wait_s(self, num_deaths: int) -> float:
        """The wait after so many deaths in a row."""
        return min(self.longest_s, self.first_s * 2.0 ** min(num_deaths - 1, 60))


class Supervisor:
    """One server and its restarts."""

    def __init__(
        self,
        spec: ServerSpec,
        *,
        python: Path,
        log_path: Path,
        current_model: Callable[[], Path],
        pacing: RestartPacing = RestartPacing(),
        progress: Callable[[float], None] | None = None,
        on_death: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`current_model` is asked before every start; the spec's own model path is not used.

        `on_death` is told in a line for people of each death that is followed by a restart.
        """
        self.num_restarts = 0
        self._spec = spec
        self._python = python
        self.log_path = log_path
        self._current_model = current_model
        self._pacing = pacing
        self._progress = progress
        self._on_death = on_death
        self._last_death = ""
        self._ready = asyncio.Event()
        self._process: SGLangProcess | None = None

    @property
    def base_url(self) -> str:
        """Where clients find the server."""
        return self._spec.base_url

    @property
    def pid(self) -> int | None:
        """Of the server's process group; None between two lives."""
        return self._process.pid if self._process else None

    @property
    def is_ready(self) -> bool:
        """Whether it has come up and has not been seen to exit since."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Wait until it is up; run it beside `run` in one TaskGroup, which cancels it if the first start fails."""
        await self._ready.wait()

    async def run(self) -> None:
        """Start the server, and start it again whenever it exits, until cancelled.

        Consumes: the current model's path. Produces: a running server. Waits for: the process to exit, then the
        back-off. Unblocked by: its exit, cancellation. Raises ServerUnavailable if the first start fails (that is a
        wrong command, not a crash), or if it keeps dying.
        """
        num_deaths = 0
        while True:
            lived_s = await self._life()
            num_deaths = 1 if lived_s >= self._pacing.steady_s else num_deaths + 1
            if num_deaths >= self._pacing.max_deaths:
                raise ServerUnavailable(f"{self.base_url} died {num_deaths} times in a row; {self._last_death}")
            wait_s = self._pacing.wait_s(num_deaths)
            self.num_restarts += 1
            logger.warning("sglang_restarts", url=self._spec.base_url, num_restarts=self.num_restarts, wait_s=wait_s)
            self._on_death(f"SGLang at {self.base_url} died: it is started again in {wait_s:g} s; log: {self.log_path}")
            await asyncio.sleep(wait_s)

    async def _life(self) -> float:
        """One process from start to exit; returns for how many seconds it was ready."""
        spec = replace(self._spec, model_path=self._current_model())
        process = await SGLangProcess.start(spec, python=self._python, log_path=self.log_path)
        self._process = process
        try:
            return await self._serve(process)
        finally:
            self._process = None
            self._ready.clear()
            await asyncio.shield(process.stop())

    async def _serve(self, process: SGLangProcess) -> float:
        try:
            await process.wait_ready(self._pacing.start_timeout_s, self._progress)
        except ServerUnavailable as exc:
            if self.num_restarts == 0:
                raise
            self._last_death = str(exc)
            logger.warning("sglang_start_failed", url=self._spec.base_url, error=self._last_death)
            return 0.0
        self._ready.set()
        ready_at = time.monotonic()
        await process.wait()
        self._last_death = process.describe_exit()
        logger.warning("sglang_died", url=self._spec.base_url, error=self._last_death)
        return time.monotonic() - ready_at
