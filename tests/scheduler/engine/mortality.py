"""How a scheduler process dies in a test: everything that it could still say is cut off at one moment.

Owns: the moment, and both ways out of the process, to Redis and to servers. Invariant: after it nothing that the
process has still to say reaches anybody, not even what it would say while it is cleaned up.
"""

import asyncio
from collections import Counter
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from inference.fake import FakeServer, create_fake


class MortalRedis(Redis):
    """A connection that ends with its process: after `die`, no command of it reaches the server.

    `die_at` chooses the moment: the n-th passing of a Redis command or of a path of a server, before it is obeyed or
    when it has been, before its answer.
    """

    dead = False
    _fatal: tuple[str, bool] | None = None
    _left = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sent: Counter[str] = Counter()
        """How often each command was sent, pipelines apart, and each path of a server asked for."""
        self.died = asyncio.Event()

    def die(self) -> None:
        self.dead = True
        self.died.set()

    def die_at(self, what: str, passings: int = 1, *, after: bool) -> None:
        """Die at this passing of `what`, counted from 1."""
        self._fatal, self._left = (what, after), passings

    def passing(self, what: str, *, after: bool) -> None:
        """Raises ConnectionError if the process is dead, from this moment on or already."""
        if self._fatal == (what, after):
            self._left -= 1
            if not self._left:
                self.die()
        if self.dead:
            raise ConnectionError("this process is dead")

    async def execute_command(self, *args: object, **options: object) -> object:
        command = str(args[0])
        self.passing(command, after=False)
        self.sent[command] += 1
        answer: object = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.passing(command, after=True)
        return answer


class MortalTransport(httpx.AsyncBaseTransport):
    """The way to a server, which ends with the process too: not even `continue` is sent any more."""

    def __init__(self, fake: FakeServer, process: MortalRedis) -> None:
        self._inner = httpx.ASGITransport(create_fake(fake))
        self._process = process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            self._process.passing(request.url.path, after=False)
            self._process.sent[request.url.path] += 1
            response = await self._inner.handle_async_request(request)
            self._process.passing(request.url.path, after=True)
        except ConnectionError as exc:
            raise httpx.ConnectError(str(exc)) from exc
        return response
