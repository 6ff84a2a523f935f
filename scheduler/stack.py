"""The whole service on one machine: servers, scheduler and learners as child processes.

Owns: which processes there are, their settings, and the order of start and stop. Never takes part in a run. Invariants:
learners are stopped with the stack; what dies is started again, within bounds, and that is said.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import structlog

from inference.interpreter import Device, detect_device, sglang_python
from inference.launch import ServerSpec
from inference.supervisor import Supervisor
from scheduler.child import Child
from scheduler.client import Client
from scheduler.core.errors import InvalidInput, ServerUnavailable
from scheduler.learners import Learners, LearnersPlan
from scheduler.ports import free_port, is_free
from scheduler.processor import has_native_bf16
from scheduler.start_times import StartTimes

log = structlog.get_logger(__name__)


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
                    with Client(self.url) as client:
                        await self._learners(client).run()

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

    def _learners(self, client: Client) -> Learners:
        plan = LearnersPlan(
            scheduler_url=self.url,
            model=self.plan.model,
            folder=self.plan.folder,
            metrics_port=self.plan.learner_metrics_port,
            settings=self.plan.learner_settings,
        )
        return Learners(plan, client, child=self._child, say=self._say)

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


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).is_success
    except httpx.TransportError:
        return False
