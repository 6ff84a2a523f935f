"""Everything that a chaos run is about: two schedulers, servers, Redis, a learner, and the links between them.

Owns: what there is, how it is wired, and asking the schedulers. Never breaks anything: `strikes` does. Invariant: every
connection between two processes goes over a link; the harness's own questions go over none.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx

from inference.interpreter import sglang_python
from inference.launch import ServerSpec
from inference.supervisor import RestartPacing, Supervisor
from scheduler.client import Client
from scheduler.core.errors import NotAtWork, ServerUnavailable
from scheduler.embedded_redis import configuration, server_binary
from scheduler.ports import free_port
from scheduler.state.connection import connect
from scheduler.state.keys import RunKeys
from tests.chaos.actor import Actor, actor
from tests.chaos.proxy import Link
from tests.last_words import last_words

Answer = TypeVar("Answer")

LEASE_TTL_S = 4.0
NUM_SERVERS = 2
_LOOK_S = 0.1
_PATIENCE_S = 120.0
_SCHEDULER = {
    "NUM_REWARD_WORKERS": "1",
    "MAX_IN_FLIGHT": "32",
    "PROBE_INTERVAL_S": "0.2",
    "LEASE_TTL_S": f"{LEASE_TTL_S:g}",
    "HEARTBEAT_S": "1",
    "STOP_GRACE_S": "1",
    "STALL_S": "20",
}
REAL_LEARNER = {
    "LEARNING_RATE": "1e-3",
    "AUTOCAST": "float32",
    "PUBLISH_FORMAT": "float32",
    "DEVICE": "cpu",
    "CHECKPOINT_EVERY": "2",
    # All of them: they are the learner's own book of what it trained.
    "KEEP_CHECKPOINTS": "1000",
}


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The processes and links of one chaos run."""

    folder: Path
    model: Path
    is_real: bool
    """Whether servers are SGLang and the learner trains."""
    redis: Actor
    redis_port: int
    schedulers: Sequence[Actor]
    scheduler_ports: Sequence[int]
    servers: Sequence[Actor]
    server_urls: Sequence[str]
    """Of the servers themselves, not of the links to them."""
    redis_links: Sequence[Link]
    """One for each scheduler."""
    server_links: Sequence[Link]
    front: Link
    """Between the learner and whichever scheduler is at work."""
    learner: Actor | None = None
    at_work: int | None = None
    """Which scheduler said last that it is ready."""
    takeovers: int = 0
    """How often another scheduler was ready than before."""
    current_run: str = ""
    _learning: "asyncio.Task[None] | None" = field(default=None)

    # Asking.

    async def ask(
        self, call: Callable[[Client], Answer], *, patience_s: float = _PATIENCE_S, timeout_s: float = 10.0
    ) -> Answer:
        """One question to the schedulers, put again for as long as none of them can answer."""
        async with asyncio.timeout(patience_s):
            while True:
                for port in self._in_turn():
                    with suppress(ServerUnavailable, NotAtWork):
                        return await asyncio.to_thread(self._put, call, port, timeout_s)
                await asyncio.sleep(_LOOK_S)

    def _in_turn(self) -> list[int]:
        first = self.at_work or 0
        return [*self.scheduler_ports[first:], *self.scheduler_ports[:first]]

    @staticmethod
    def _put(call: Callable[[Client], Answer], port: int, timeout_s: float) -> Answer:
        with Client(f"http://127.0.0.1:{port}", timeout_s=timeout_s) as client:
            return call(client)

    async def watch(self) -> None:
        """Consumes: the schedulers' readiness. Produces: who is at work. Waits for: the next look."""
        async with httpx.AsyncClient(timeout=1.0, trust_env=False) as http:
            while True:
                # The one that was ready stays the one for as long as it is: without a run, both are.
                ready = [index for index, port in enumerate(self.scheduler_ports) if await _is_ready(http, port)]
                if ready and self.at_work not in ready:
                    self.takeovers += self.at_work is not None
                    self.at_work = ready[0]
                await asyncio.sleep(_LOOK_S)

    async def servers_ready(self, *, within_s: float) -> dict[str, bool]:
        """Whether each server generates; one that does not is asked again until time is up."""
        ready: dict[str, bool] = {}
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while not ready or not all(ready.values()):
                        for server, url in zip(self.servers, self.server_urls, strict=True):
                            ready[server.name] = await _says_ok(http, f"{url}/ready")
                        await asyncio.sleep(_LOOK_S)
        return ready

    async def schedulers_alive(self, *, within_s: float) -> None:
        """Return when every scheduler answers, the standby too; raises TimeoutError."""
        async with asyncio.timeout(within_s), httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            for port in self.scheduler_ports:
                while not await _says_ok(http, f"http://127.0.0.1:{port}/healthz"):  # noqa: ASYNC110 another process
                    await asyncio.sleep(_LOOK_S)

    async def expire_lease(self) -> bool:
        """Have Redis forget that the run's holder is alive, as it would if its clock jumped."""
        redis = connect(f"redis://127.0.0.1:{self.redis_port}/0", socket_timeout_s=2.0)
        try:
            return bool(await redis.delete(RunKeys(self.current_run).lease_alive)) if self.current_run else False
        finally:
            await redis.aclose()

    def last_words(self) -> str:
        """The end of every log."""
        return last_words(sorted((self.folder / "logs").glob("*.log")))

    # The learner, one for each run.

    def learner_folder(self, run_id: str) -> Path:
        """Where a run's learner keeps its book."""
        return self.folder / "runs" / run_id

    def start_learner(self, run_id: str) -> None:
        """A learner for this run."""
        self.current_run, self.learner = run_id, self._learner(run_id)
        self._learning = asyncio.create_task(self.learner.run(), name="learner")

    async def stop_learner(self) -> None:
        """Its run has ended."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        self.current_run, self.learner, self._learning = "", None, None

    def _learner(self, run_id: str) -> Actor:
        url, folder = f"http://127.0.0.1:{self.front.port}", self.learner_folder(run_id)
        if not self.is_real:
            module = "tests.chaos.processes.learner"
            return actor("learner", module, url, run_id, str(folder), str(self.model), folder=self.folder)
        settings = {
            "SCHEDULER_URL": url,
            "RUN_ID": run_id,
            "MODEL_PATH": str(self.model),
            "WORK_DIR": str(folder),
            **REAL_LEARNER,
        }
        environment = {f"PILOTCOMMIT_LEARNER_{name}": value for name, value in settings.items()}
        return actor("learner", "learner.main", folder=self.folder, environment=environment)


@asynccontextmanager
async def running(
    folder: Path, model: Path, *, is_real: bool, schedulers_pause_s: float = 0.2
) -> AsyncIterator[Cluster]:
    """A cluster; every process of it is gone when the block ends. A scheduler that died stays so for the pause."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        cluster = await _wired(stack, folder, model, is_real=is_real, pause_s=schedulers_pause_s)
        actors = [cluster.redis, *cluster.servers, *cluster.schedulers]
        running = [tasks.create_task(one.run(), name=one.name) for one in actors]
        running.append(tasks.create_task(cluster.watch(), name="watch"))
        try:
            yield cluster
        finally:
            await cluster.stop_learner()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _wired(stack: AsyncExitStack, folder: Path, model: Path, *, is_real: bool, pause_s: float) -> Cluster:
    redis_port, scheduler_ports = free_port(), [free_port(), free_port()]
    server_ports = [free_port() for _ in range(1 if is_real else NUM_SERVERS)]
    redis_links = [_to(redis_port) for _ in scheduler_ports]
    server_links = [_to(port) for port in server_ports]
    cluster: Cluster

    def at_work() -> tuple[str, int]:
        return "127.0.0.1", scheduler_ports[cluster.at_work or 0]

    front = Link(at_work)
    for link in (*redis_links, *server_links, front):
        await stack.enter_async_context(link.listening())
    urls = ",".join(f"http://127.0.0.1:{link.port}" for link in server_links)
    cluster = Cluster(
        folder=folder,
        model=model,
        is_real=is_real,
        redis=_redis(redis_port, folder),
        redis_port=redis_port,
        schedulers=[
            _scheduler(index, port, redis_links[index].port, urls, folder, model, pause_s=pause_s)
            for index, port in enumerate(scheduler_ports)
        ],
        scheduler_ports=scheduler_ports,
        servers=[_server(index, port, folder, model, is_real=is_real) for index, port in enumerate(server_ports)],
        server_urls=[f"http://127.0.0.1:{port}" for port in server_ports],
        redis_links=redis_links,
        server_links=server_links,
        front=front,
    )
    return cluster


def _to(port: int) -> Link:
    return Link(lambda: ("127.0.0.1", port))


def _redis(port: int, folder: Path) -> Actor:
    data = folder / "redis"
    data.mkdir()
    command = (str(server_binary()), *configuration(data, port))
    return actor("redis", "tests.chaos.processes.redis", *command, folder=folder, shifts=False)


def _scheduler(
    index: int, port: int, redis_port: int, servers: str, folder: Path, model: Path, *, pause_s: float
) -> Actor:
    settings: Mapping[str, str] = {
        "PORT": str(port),
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "SERVERS": servers,
        "MODEL": str(model),
        **_SCHEDULER,
    }
    environment = {f"PILOTCOMMIT_{name}": value for name, value in settings.items()}
    return actor(f"scheduler-{index}", "scheduler.main", folder=folder, environment=environment, pause_s=pause_s)


def _server(index: int, port: int, folder: Path, model: Path, *, is_real: bool) -> Actor:
    name = f"server-{index}"
    if not is_real:
        witness = folder / f"{name}.witness"
        return actor(name, "tests.chaos.processes.server", str(port), str(model), str(witness), folder=folder)
    supervisor = Supervisor(
        ServerSpec(model_path=model, port=port, dtype="float32", max_running=32),
        python=sglang_python(),
        log_path=folder / "logs" / f"{name}.log",
        current_model=lambda: model,
        pacing=RestartPacing(first_s=0.2, steady_s=0.0, start_timeout_s=180.0),
    )
    return Actor(
        name=name,
        live=supervisor.run,
        pid_now=lambda: supervisor.pid if supervisor.is_ready else None,
        deaths=lambda: supervisor.num_restarts,
    )


async def _is_ready(http: httpx.AsyncClient, port: int) -> bool:
    return await _says_ok(http, f"http://127.0.0.1:{port}/readyz")


async def _says_ok(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.TransportError:
        return False
