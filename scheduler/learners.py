"""A learner for every run that is at work, as child processes on this machine.

Owns: which runs have a learner here, how each is started, and letting it go. Never takes part in a run. Invariant: a
run that is at work has one learner here, until that keeps dying: then it is given up, and stops nobody else.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from scheduler.child import Child, ChildFailed
from scheduler.client import Client
from scheduler.core.errors import ServerUnavailable
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.core.run import RunMode
from scheduler.ports import free_port, is_free

log = structlog.get_logger(__name__)

_GAVE_UP = frozenset({2, 3})
"""Its settings are wrong, or another learner has taken its run: the exit codes of `learner.main`."""
_AT_WORK = frozenset(RunState) - ENDED - {RunState.QUEUED}
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnersPlan:
    """What every learner here is told."""

    scheduler_url: str
    model: Path
    """Folder of the policy at step 0, with its tokenizer."""
    folder: Path
    """Each run's checkpoints and weights go into a folder of it, `runs/RUN`; servers must be able to read it."""
    metrics_port: int = 0
    """Where Prometheus finds a learner's metrics; 0 serves none. If it is taken when a learner starts, that learner
    gets a free one, which is said."""
    metrics_host: str = "127.0.0.1"
    """Address at which they are served; by default nobody but this machine scrapes them."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the learner beside those made here, by name."""


class _Config(msgspec.Struct, frozen=True):
    mode: RunMode


class _Run(msgspec.Struct, frozen=True):
    run_id: str
    state: RunState
    config: _Config


class ChildMaker(Protocol):
    """Makes the child process of a module."""

    def __call__(
        self, name: str, module: str, environment: Mapping[str, str], final_codes: frozenset[int] = frozenset()
    ) -> Child:
        """`final_codes`: exit codes after which it is not started again."""


class Learners:
    """Learners by run; `run` is their life."""

    def __init__(self, plan: LearnersPlan, client: Client, *, child: ChildMaker, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._client = client
        self._child = child
        self._say = say
        self._learners: dict[str, tuple[Child, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Start a learner for each run that is at work and has none here.

        Consumes: runs. Produces: learners. Waits for: the next look. Ends when cancelled.
        """
        async with asyncio.TaskGroup() as tasks:
            while True:
                for run_id, state in (await self._runs()).items():
                    if state in _AT_WORK and run_id not in self._learners:
                        self._say(f"starting a learner for {run_id}")
                        learner = self._learner(run_id)
                        task = tasks.create_task(self._keep(learner, run_id), name=learner.name)
                        self._learners[run_id] = learner, task
                    elif state in ENDED and run_id in self._learners:
                        self._let_go(run_id)
                await asyncio.sleep(_LOOK_S)

    async def _runs(self) -> dict[str, RunState]:
        """Every run that trains and its state; empty while the scheduler is away."""
        try:
            runs = await asyncio.to_thread(self._client.runs)
        except ServerUnavailable as error:
            log.info("scheduler_silent", reason=str(error))
            return {}
        read = [msgspec.convert(run, _Run) for run in runs]
        return {run.run_id: run.state for run in read if run.config.mode is RunMode.TRAIN}

    def _learner(self, run_id: str) -> Child:
        settings = {
            "SCHEDULER_URL": self._plan.scheduler_url,
            "RUN_ID": run_id,
            "MODEL_PATH": str(self._plan.model),
            "WORK_DIR": str(self._plan.folder / "runs" / run_id),
            **self._metrics_settings(run_id),
            **self._plan.settings,
        }
        environment = {f"PILOTCOMMIT_LEARNER_{key}": settings[key] for key in settings}
        return self._child(f"learner-{run_id}", "learner.main", environment, final_codes=_GAVE_UP)

    def _metrics_settings(self, run_id: str) -> Mapping[str, str]:
        wanted = self._plan.metrics_port
        if not wanted:
            return {"METRICS_PORT": "0"}
        port = wanted if is_free(wanted) else free_port()
        self._say(f"metrics of the learner of {run_id}: http://{self._plan.metrics_host}:{port}/metrics")
        return {"METRICS_PORT": str(port), "METRICS_HOST": self._plan.metrics_host}

    async def _keep(self, learner: Child, run_id: str) -> None:
        """A learner through all its lives; one that keeps dying is given up, and stops nobody else."""
        try:
            await learner.run()
        except ChildFailed as error:
            self._say(f"giving up: {error}\nrun {run_id} waits for a learner; start one by hand, or cancel the run")

    def _let_go(self, run_id: str) -> None:
        """A learner that died as its run ended would find nothing to attach to, again and again."""
        learner, task = self._learners[run_id]
        if learner.pid is None:
            task.cancel()
