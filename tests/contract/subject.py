"""The server under contract: one interface to the fake and to the real SGLang.

Owns: how a test lets time pass and looks inside. Invariant: only `is_fake` tells a test which of the two it
talks to.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from inference.client import ServerClient
from inference.fake import FakeServer
from inference.protocol import GenerateRequest, WeightLabel
from inference.supervisor import Supervisor
from scheduler.core.types import Completion, Sampling

MAX_RUNNING = 4
MAX_QUEUED = 4
API_KEY, ADMIN_KEY = "user-key", "admin-key"
PROMPT = (7, 23, 14, 23, 8)
LONG = Sampling(max_new_tokens=1900, ignore_eos=True)
SHORT = Sampling(max_new_tokens=4, ignore_eos=True)
_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A server with freshly pushed weights, version 1 of a run of its own."""

    client: ServerClient
    http: httpx.AsyncClient
    """Without keys: for what the client would never send."""
    run: str
    old: Path
    """The checkpoint that is live as version 1."""
    new: Path
    """Another one."""
    fake: FakeServer | None = None
    supervisor: Supervisor | None = None

    @property
    def is_fake(self) -> bool:
        """Whether the server is ours."""
        return self.fake is not None

    def label(self, version: int) -> WeightLabel:
        """A label of this test's run."""
        return WeightLabel(run=self.run, version=version)

    def request(
        self, rid: str, sampling: Sampling = SHORT, *, version: int = 1, ids: tuple[int, ...] = PROMPT
    ) -> GenerateRequest:
        """An attempt."""
        return GenerateRequest(
            rid=f"{self.run}-{rid}",
            run=self.run,
            version=version,
            input_ids=ids,
            sampling=sampling,
            sampling_seed=5,
            timeout_s=60.0,
        )

    def raw(self, rid: str, sampling: Sampling = SHORT, *, label: WeightLabel | None = None) -> dict[str, object]:
        """A body for /generate, for tests that read the wire."""
        return {
            "rid": rid,
            "input_ids": list(PROMPT),
            "sampling_params": {"max_new_tokens": sampling.max_new_tokens, "ignore_eos": True, "temperature": 1.0},
            "return_logprob": True,
            "extra_key": str(label or self.label(1)),
        }

    async def post(self, path: str, body: object = None, *, key: str | None = ADMIN_KEY) -> httpx.Response:
        """One raw call; without a body nothing is sent as one."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return (
            await self.http.post(path, json=body, headers=headers)
            if body is not None
            else await self.http.post(path, headers=headers)
        )

    async def get(self, path: str, *, key: str | None = API_KEY) -> httpx.Response:
        """One raw call."""
        return await self.http.get(path, headers={"Authorization": f"Bearer {key}"} if key else {})

    async def checksum(self) -> str:
        """The sum over the weights it holds; skips the test where this SGLang has no way to tell."""
        summed = await self.client.checksum()
        if summed is None:
            pytest.skip("this SGLang cannot sum its weights on this machine")
        return summed

    async def queues(self, *, running: int | None = None, waiting: int | None = None) -> None:
        """Wait until the server shows these queues, in a report made after this was asked.

        The real server publishes a report when it prefills or decodes, never while it sleeps: any report of an empty
        queue is believed.
        """
        asked_at = time.time() if running or waiting else 0.0

        async def shown() -> bool:
            report = (await self.get("/v1/loads")).json()["loads"][0]
            fits = running in (None, report["num_running_reqs"]) and waiting in (None, report["num_waiting_reqs"])
            return fits and report["timestamp"] >= asked_at

        await self.polled(shown)

    async def polled(self, condition: Callable[[], Coroutine[None, None, bool]], deadline_s: float = 30.0) -> None:
        """Wait until `condition` holds, while time goes on."""
        async with asyncio.timeout(deadline_s):
            while not await condition():
                await (self.fake.step() if self.fake is not None else asyncio.sleep(0.02))

    @asynccontextmanager
    async def running(self, *requests: GenerateRequest) -> AsyncIterator[tuple[asyncio.Task[Completion], ...]]:
        """These requests, decoding: some tokens are made, and the last one is far off."""
        if self.fake is not None:
            self.fake.hold()
        tasks = tuple(asyncio.create_task(self.client.generate(request)) for request in requests)
        try:
            await self.queues(running=len(requests))
            yield tasks
        finally:
            await self.aborted(*tasks)

    async def aborted(self, *tasks: asyncio.Task[Completion]) -> None:
        """Abort what is left of these tasks, and let time run."""
        self.flow()
        await self.client.resume()
        await self.client.abort_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def answered(self, task: asyncio.Task[Completion]) -> Completion:
        """What a task that is now free to end ends with."""
        self.flow()
        async with asyncio.timeout(_DEADLINE_S):
            return await task

    def flow(self) -> None:
        """Let time run, where it had been stopped."""
        if self.fake is not None:
            self.fake.release()

    async def blocked(self, task: asyncio.Task[Completion] | asyncio.Task[None]) -> bool:
        """Whether a task that has been sent gets no answer for now."""
        for _ in range(3):
            await self.client.loads()
            await asyncio.wait({task}, timeout=0.1)
        return not task.done()
