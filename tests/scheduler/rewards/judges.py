"""A reward server on a real socket, as good or bad as a test wants it.

Owns: what it was asked, and its misbehaviour. Invariant: it judges by equality whatever it is not told to spoil.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Asked = dict[str, Any]
Spoil = Callable[[int, list[Asked]], Awaitable[tuple[int, bytes] | None]]
"""Given the number of the request, from 1, and its completions: what to answer instead, None for nothing else."""


async def _fine(_number: int, _completions: list[Asked]) -> None:
    return None


def judged(completions: list[Asked]) -> list[Asked]:
    """An entry for each completion, by equality."""
    return [{"id": each["id"], "reward": float(each["text"] == each["answer"])} for each in completions]


@dataclass
class RewardServerApp:
    """An ASGI application with POST /judge."""

    spoil: Spoil = _fine
    key: str | None = None
    batches: list[list[str]] = field(default_factory=list)
    """Texts of each request that was read."""
    requests: list[str] = field(default_factory=list)
    """The `request` of each."""
    keys: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            status, said = await self._answer(scope, body)
        finally:
            self.at_once -= 1
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": said})

    async def _answer(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        sent = dict(scope["headers"]).get(b"authorization", b"").decode()
        self.keys.append(sent)
        if scope["path"] != "/judge":
            return 404, b"no such path"
        if self.key is not None and sent != f"Bearer {self.key}":
            return 401, f"{sent} is not the key".encode()
        asked = json.loads(body)
        self.batches.append([each["text"] for each in asked["completions"]])
        self.requests.append(asked["request"])
        spoilt = await self.spoil(len(self.batches), asked["completions"])
        if spoilt is not None:
            return spoilt
        return 200, json.dumps({"rewards": judged(asked["completions"])}).encode()


@asynccontextmanager
async def serving(app: RewardServerApp, **options: Any) -> AsyncIterator[str]:
    """The address of its /judge while the block lasts."""
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        **options,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        # The server has no event for it.
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"{'https' if config.is_ssl else 'http'}://127.0.0.1:{port}/judge"
    finally:
        server.should_exit = True
        await running
