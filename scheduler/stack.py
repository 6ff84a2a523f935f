"""The whole service on one machine: servers, scheduler and learners as child processes.

Owns: which processes there are, their settings, and the order of start and stop. Never takes part in a run. Invariants:
a learner is started for every run that is at work, and stopped with the stack; what dies is started again, within
bounds, and that is said; a learner that keeps dying stops nobody else.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import structlog

from inference.interpreter import Device, detect_device, sglang_python
from inference.launch import ServerSpec
from inference.supervisor import Supervisor
from scheduler.child import Child, ChildFailed
from scheduler.core.errors import InvalidInput, ServerUnavailable
from scheduler.core.lifecycle import ENDED, RunState
from scheduler.processor import has_native_bf16
from scheduler.start_times import StartTimes

log = structlog.get_logger(__name__)

_LEARNER_GAVE_UP = frozenset({2, 3})
"""Its settings are wrong, or another learner has taken its run: the exit codes of `learner.main`."""
_AT_WORK = frozenset(RunState) - ENDED - {RunState.QUEUED}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What is to be started."""

    model: Path
    """Folder of the policy at step 0, with its tokenizer."""
    folder: Path
    """Everything the stack writes: durable state, weights, checkpoints, logs."""
    port: int = 8400
    """Of the scheduler's API; 0 takes a free one."""
    servers: tuple[str, ...] = ()
    """Addresses of servers that run already; empty starts one here."""
    redis_url: str = "embedded"
    device: Device | None = None
    """Where servers and learners compute; None finds out."""
    dtype: str | None = None
    """Arithmetic of a server started here; None takes bfloat16 where the hardware computes it, else float32."""
    learners: bool = True
    """Start a learner for every run that is at work."""
    learner_metrics_port: int = 0
    """Where Prometheus finds the learner's metrics; 0 serves none. If it is taken when a learner starts, that learner
    gets a free one, which is said."""
    learner_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the learner beside those the stack makes, by name."""
    scheduler_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the scheduler beside those the stack makes, by name."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def server_dtype(device: Device) -> str:
    """The arithmetic of a server on this machine: what the hardware computes fastest."""
    return "bfloat16" if device is Device.CUDA or has_native_bf16() else "float32"


def newest_weights(folder: Path) -> Path | None:
    """What any learner of a stack in `folder` published last, if that is still there: a restarted server starts so."""
    links = sorted(folder.glob("runs/*/weights/current"), key=lambda link: link.lstat().st_mtime)
    return next((link.resolve() for link in reversed(links) if link.exists()), None)


class Stack:
    """Child processes; `run` is their life."""

    def __init__(self, plan: StackPlan, *, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.url = f"http://127.0.0.1:{plan.port or free_port()}"
        self._say = say
        self._ready = asyncio.Event()
        self._learners: dict[str, asyncio.Task[None]] = {}
        self._starts = StartTimes(plan.folder / "starts.json", model=plan.model)
        self.server_urls = plan.servers
        """Addresses of the servers, once those started here have one."""
        self.children: dict[str, Child] = {}
        """Children by name, for those who want to know their restarts."""

    async def wait_ready(self) -> None:
        """Return once the API answers and every server started here is up."""
        await self._ready.wait()

    async def run(self) -> None:
        """Start everything and keep it running until cancelled.

        Consumes: exits of children, runs at work. Produces: restarts, learners. Waits for: either. Raises what a child
        that cannot start or keeps dying raises, InvalidInput if the port is taken.
        """
        self._check_port()
        # One group within the other: learners stop first, while there is a scheduler to report to, and servers last.
        async with asyncio.TaskGroup() as servers:
            supervisors = [] if self.plan.servers else [self._server()]
            for supervisor in supervisors:
                servers.create_task(supervisor.run(), name=f"server-{supervisor.base_url}")
            self.server_urls = self.plan.servers or tuple(supervisor.base_url for supervisor in supervisors)
            async with asyncio.TaskGroup() as scheduler:
                scheduler.create_task(self._scheduler(self.server_urls).run(), name="scheduler")
                await self._until_ready(supervisors)
                if self.plan.learners:
                    async with asyncio.TaskGroup() as learners:
                        await self._start_learners(learners)

    def _check_port(self) -> None:
        """Whoever has the port would be taken for our scheduler, and be sent learners."""
        port = int(self.url.rpartition(":")[2])
        if not is_free(port):
            raise InvalidInput(
                f"port {port} is taken: name another one, or 0 for any; `pilotcommit doctor` says by whom",
                field="port",
            )

    async def _until_ready(self, supervisors: Sequence[Supervisor]) -> None:
        started = time.monotonic()
        await self._until_healthy()
        self._say(f"the scheduler answers at {self.url}")
        for supervisor in supervisors:
            await supervisor.wait_ready()
            self._starts.keep(time.monotonic() - started)
            self._say(f"SGLang answers at {supervisor.base_url}")
        self._ready.set()

    def _server(self) -> Supervisor:
        device = self.plan.device or detect_device()
        self._say(f"starting SGLang on the {device}: {self._starts.expected()}")
        return Supervisor(
            ServerSpec(
                model_path=self.plan.model,
                port=free_port(),
                device=device,
                dtype=self.plan.dtype or server_dtype(device),
            ),
            python=sglang_python(),
            log_path=self.plan.folder / "logs" / "sglang.log",
            current_model=lambda: newest_weights(self.plan.folder) or self.plan.model,
            progress=lambda waited_s: self._say(self._starts.told(waited_s)),
            on_death=self._say,
        )

    def _scheduler(self, servers: tuple[str, ...]) -> Child:
        settings = {
            "PORT": self.url.rpartition(":")[2],
            "SERVERS": ",".join(servers),
            "MODEL": str(self.plan.model),
            "REDIS_URL": self.plan.redis_url,
            "DATA_DIR": str(self.plan.folder),
            **self.plan.scheduler_settings,
        }
        return self._child("scheduler", "scheduler.main", {f"PILOTCOMMIT_{key}": settings[key] for key in settings})

    def _learner(self, run_id: str) -> Child:
        settings = {
            "SCHEDULER_URL": self.url,
            "RUN_ID": run_id,
            "MODEL_PATH": str(self.plan.model),
            "WORK_DIR": str(self.plan.folder / "runs" / run_id),
            **self._metrics_settings(run_id),
            **self.plan.learner_settings,
        }
        environment = {f"PILOTCOMMIT_LEARNER_{key}": settings[key] for key in settings}
        return self._child(f"learner-{run_id}", "learner.main", environment, final_codes=_LEARNER_GAVE_UP)

    def _metrics_settings(self, run_id: str) -> Mapping[str, str]:
        """Nobody but this machine scrapes them, as nobody else reaches the scheduler."""
        wanted = self.plan.learner_metrics_port
        if not wanted:
            return {"METRICS_PORT": "0"}
        port = wanted if is_free(wanted) else free_port()
        self._say(f"metrics of the learner of {run_id}: http://127.0.0.1:{port}/metrics")
        return {"METRICS_PORT": str(port), "METRICS_HOST": "127.0.0.1"}

    def _child(
        self, name: str, module: str, environment: Mapping[str, str], final_codes: frozenset[int] = frozenset()
    ) -> Child:
        child = Child(
            name=name,
            module=module,
            environment=environment,
            log_path=self.plan.folder / "logs" / f"{name}.log",
            final_codes=final_codes,
            on_death=self._say,
        )
        self.children[name] = child
        return child

    async def _until_healthy(self, *, timeout_s: float = 60.0) -> None:
        scheduler = self.children["scheduler"]
        async with httpx.AsyncClient(base_url=self.url, timeout=5.0, trust_env=False) as http:
            try:
                async with asyncio.timeout(timeout_s):
                    while not await _answers(http):
                        if scheduler.restarts:
                            raise ServerUnavailable(f"the scheduler does not start; {scheduler.last_words()}")
                        await asyncio.sleep(0.2)
            except TimeoutError as exc:
                words = scheduler.last_words()
                raise ServerUnavailable(f"the scheduler was not up after {timeout_s:g} s; {words}") from exc

    async def _start_learners(self, tasks: asyncio.TaskGroup) -> None:
        """Start a learner for each run that is at work and has none here.

        Consumes: runs. Produces: learners. Waits for: the next look. Ends when cancelled.
        """
        async with httpx.AsyncClient(base_url=self.url, timeout=10.0, trust_env=False) as http:
            while True:
                runs = await _runs(http)
                for run_id, state in runs.items():
                    if state in _AT_WORK and run_id not in self._learners:
                        self._say(f"starting a learner for {run_id}")
                        learner = self._learner(run_id)
                        self._learners[run_id] = tasks.create_task(self._keep(learner, run_id), name=learner.name)
                    elif state in ENDED and run_id in self._learners:
                        self._let_go(run_id)
                await asyncio.sleep(1.0)

    async def _keep(self, learner: Child, run_id: str) -> None:
        """A learner through all its lives; one that keeps dying is given up, and stops nobody else."""
        try:
            await learner.run()
        except ChildFailed as error:
            self._say(f"giving up: {error}\nrun {run_id} waits for a learner; start one by hand, or cancel the run")

    def _let_go(self, run_id: str) -> None:
        """A learner that died as its run ended would find nothing to attach to, again and again."""
        if self.children[f"learner-{run_id}"].pid is None:
            self._learners[run_id].cancel()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).is_success
    except httpx.TransportError:
        return False


async def _runs(http: httpx.AsyncClient) -> dict[str, RunState]:
    """Every run and its state; empty while the scheduler is away."""
    try:
        answer = await http.get("/v1/runs")
    except httpx.TransportError as error:
        log.info("scheduler_silent", reason=str(error))
        return {}
    if not answer.is_success:
        return {}
    return {run["run_id"]: RunState(run["state"]) for run in json.loads(answer.content)["runs"]}
