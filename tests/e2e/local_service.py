"""The whole service, started for one test.

Owns: the processes of one test, and waiting for what they do. Never looks inside them: what it knows, it asked the API.
Invariant: a process that cannot go on ends the wait at once, with the end of its log.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scheduler.child import Child
from scheduler.cli.answers import Added, Ledger, Run, Server, read
from scheduler.client import Client, Json
from scheduler.core.errors import NotAtWork, ServerUnavailable
from scheduler.core.lifecycle import ENDED
from scheduler.stack import Stack, StackPlan
from tests.last_words import last_words

Answer = TypeVar("Answer")

POOL, HELD_OUT = "sums", "sums-held-out"
PROMPT_IDS = tuple(f"p{number}" for number in range(40))
NUM_HELD_OUT = 8
_REWARD = "python:tests.e2e.rewards:starts_even"
_POLL_S = 0.05
_SCHEDULER = {
    "MAX_IN_FLIGHT": "64",
    "NUM_REWARD_WORKERS": "1",
    "PROBE_INTERVAL_S": "0.2",
    # A successor waits for its predecessor's lease to run out; on a busy machine two seconds may pass unrenewed.
    "LEASE_TTL_S": "5",
}
_LEARNER = {
    # Low enough for rewards to go on varying, however many steps a test takes.
    "LEARNING_RATE": "1e-3",
    "AUTOCAST": "float32",
    "PUBLISH_FORMAT": "float32",
    "DEVICE": "cpu",
    "CHECKPOINT_EVERY": "2",
    # All of them: they are the learner's own book of what it trained.
    "KEEP_CHECKPOINTS": "100",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalService:
    """A scheduler on a fresh Redis and its learners, with a server that others share."""

    stack: Stack
    client: Client
    processes: "asyncio.Task[None]"
    server_log: Path | None = None
    """Of the SGLang server that others share."""

    def run_folder(self, run_id: str) -> Path:
        """Where a run's learner works."""
        return self.stack.plan.folder / "runs" / run_id

    def learner(self, run_id: str, *, fault: str = "", num_ranks: int = 1) -> Child:
        """One life of a learner, for a test that starts it itself; `fault` is where it kills itself.

        Several ranks are started by torchrun, on a port that it finds.
        """
        settings = {
            "SCHEDULER_URL": self.stack.url,
            "RUN_ID": run_id,
            "MODEL_PATH": str(self.stack.plan.model),
            "WORK_DIR": str(self.run_folder(run_id)),
            **_LEARNER,
        }
        environment = {f"PILOTCOMMIT_LEARNER_{name}": value for name, value in settings.items()}
        return Child(
            name=f"learner-{run_id}",
            module="learner.main" if num_ranks == 1 else "torch.distributed.run",
            arguments=() if num_ranks == 1 else ("--standalone", f"--nproc-per-node={num_ranks}", "-m", "learner.main"),
            environment={**environment, "PILOTCOMMIT_FAULT": fault},
            log_path=self.stack.plan.folder / "logs" / f"learner-{run_id}.log",
            max_restarts=0,
        )

    async def ask(self, call: Callable[[Client], Answer]) -> Answer:
        """One question to the API."""
        return await asyncio.to_thread(call, self.client)

    async def submit(self, **config: object) -> str:
        """Create the pools and queue a run; returns its id."""

        def create(client: Client) -> str:
            self._create_pool(POOL, {prompt_id: f"{prompt_id[1:]} + 2 =" for prompt_id in PROMPT_IDS})
            self._create_pool(HELD_OUT, {f"h{number}": f"{number} - 2 =" for number in range(NUM_HELD_OUT)})
            return str(client.create_run(_run_request(config))["run_id"])

        return await self.ask(create)

    @staticmethod
    def request(**config: object) -> Json:
        """A further run over the pools of `submit`."""
        return _run_request(config)

    def _create_pool(self, name: str, prompts: Mapping[str, str]) -> None:
        self.client.create_pool(name, tokenizer=str(self.stack.plan.model), reward=_REWARD)
        lines = ({"id": prompt_id, "text": text} for prompt_id, text in prompts.items())
        assert read(self.client.add_prompts(name, lines), Added).added == len(prompts)

    async def until(self, run_id: str, condition: Callable[[Run], bool], *, deadline_s: float = 60.0) -> Run:
        """The run as the API shows it once `condition` holds of it; a scheduler that is away is asked again."""
        return await self._polled(lambda client: read(client.run(run_id), Run), condition, deadline_s)

    async def until_ledger(
        self, run_id: str, condition: Callable[[Ledger], bool], *, deadline_s: float = 60.0
    ) -> Ledger:
        """The run's ledger once `condition` holds of it."""
        return await self._polled(lambda client: read(client.ledger(run_id), Ledger), condition, deadline_s)

    async def until_server(self, condition: Callable[[Server], bool], *, deadline_s: float = 60.0) -> Server:
        """The server as the scheduler knows it once `condition` holds of it."""
        return await self._polled(lambda client: read(client.servers()[0], Server), condition, deadline_s)

    async def _polled(
        self, call: Callable[[Client], Answer], condition: Callable[[Answer], bool], deadline_s: float
    ) -> Answer:
        answer: Answer | None = None
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    answer = await self._look(call)
                    if answer is not None and condition(answer):
                        return answer
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as exc:
            raise AssertionError(f"not within {deadline_s:g} s; last seen: {answer}\n{self.last_words()}") from exc

    async def within(self, deadline_s: float, work: Awaitable[Answer]) -> Answer:
        """What `work` comes to, or an error with the end of every log."""
        try:
            return await asyncio.wait_for(work, deadline_s)
        except TimeoutError as exc:
            raise AssertionError(f"not within {deadline_s:g} s\n{self.last_words()}") from exc

    def last_words(self) -> str:
        """The end of every log, for a report that has nothing else."""
        logs = [
            *sorted((self.stack.plan.folder / "logs").glob("*.log")),
            *([self.server_log] if self.server_log else []),
        ]
        return last_words(logs)

    async def _look(self, call: Callable[[Client], Answer]) -> Answer | None:
        if self.processes.done():
            self.processes.result()
        try:
            return await self.ask(call)
        except (ServerUnavailable, NotAtWork):
            return None

    async def resume(self, run_id: str, *, deadline_s: float = 60.0) -> Run:
        """Resume a paused run, once the lease of a scheduler that is gone has run out."""
        return await self._polled(lambda client: read(client.resume(run_id), Run), lambda _: True, deadline_s)

    async def ended(self, run_id: str) -> Run:
        """The run once it has ended."""
        return await self.until(run_id, lambda run: run.state in ENDED, deadline_s=120.0)


def _run_request(config: Mapping[str, object]) -> Json:
    """A run of small groups; `config` adds and replaces fields."""
    return {
        "pool": POOL,
        "allocator": "pilot_commit",
        "parameters": {"rounds": None, "defer_for": 8, "evict_for": 32},
        "pilots": 4,
        "commits": 4,
        "batch_size": 4,
        "sampling": {"max_new_tokens": 8, "ignore_eos": True},
        "attempt_timeout_s": 30,
        **config,
    }


@asynccontextmanager
async def started(
    folder: Path,
    *,
    model: Path,
    servers: tuple[str, ...],
    server_log: Path | None = None,
    learners: bool = True,
    learning_rate: str = _LEARNER["LEARNING_RATE"],
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[LocalService]:
    """The service in a folder of its own; every process is gone when the block ends."""
    plan = StackPlan(
        model=model,
        folder=folder,
        port=0,
        servers=servers,
        learners=learners,
        learner_settings=_LEARNER | {"LEARNING_RATE": learning_rate},
        scheduler_settings=_SCHEDULER | dict(settings or {}),
    )
    stack = Stack(plan, say=lambda line: None)
    processes = asyncio.create_task(stack.run())
    ready = asyncio.create_task(stack.wait_ready())
    try:
        await asyncio.wait({processes, ready}, return_when=asyncio.FIRST_COMPLETED)
        if processes.done():
            processes.result()
        with Client(stack.url) as client:
            yield LocalService(stack=stack, client=client, processes=processes, server_log=server_log)
    finally:
        ready.cancel()
        processes.cancel()
        await asyncio.gather(processes, ready, return_exceptions=True)
