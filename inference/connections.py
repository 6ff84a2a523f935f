"""Connections to one server: as many as are needed, each taken by one call at a time.

Owns: which connection a call goes over. Never retries. Invariant: a call costs the same however many are open.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class _Idle:
    """A connection that nothing is using."""

    connection: httpx.AsyncHTTPTransport
    since_s: float


class Connections(httpx.AsyncBaseTransport):
    """Pools of one connection each, the one last used first.

    httpcore 1.0.9 looks at every connection of a pool, and for each at every other, whenever a call begins or ends
    (https://github.com/encode/httpcore/pull/1035): with 512 calls in flight that took three quarters of the
    scheduler's time.
    """

    def __init__(self, *, max_connections: int, keepalive_s: float, tls: ssl.SSLContext | None = None) -> None:
        """`tls` None: the public authorities are trusted."""
        self._places = asyncio.Semaphore(max_connections)
        self._limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=keepalive_s)
        self._keepalive_s = keepalive_s
        self._verify = tls or httpx.create_ssl_context(trust_env=False)
        self._idle: deque[_Idle] = deque()
        self._busy: set[httpx.AsyncHTTPTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request over a connection of its own; raises PoolTimeout if none becomes free in time."""
        await self._close_stale()
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._places.acquire()
        except TimeoutError as exc:
            raise httpx.PoolTimeout("every connection is in use", request=request) from exc
        connection = self._idle.pop().connection if self._idle else self._new()
        self._busy.add(connection)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._give_back(connection)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Answer(response.stream, lambda: self._give_back(connection)),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail."""
        connections = [idle.connection for idle in self._idle] + list(self._busy)
        self._idle.clear()
        for connection in connections:
            await connection.aclose()

    async def _close_stale(self) -> None:
        """The server has closed those that were idle for longer, or is about to."""
        oldest = time.monotonic() - self._keepalive_s
        while self._idle and self._idle[0].since_s < oldest:
            await self._idle.popleft().connection.aclose()

    def _new(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._verify, trust_env=False, limits=self._limits)

    def _give_back(self, connection: httpx.AsyncHTTPTransport) -> None:
        self._busy.discard(connection)
        self._idle.append(_Idle(connection, time.monotonic()))
        self._places.release()


class _Answer(httpx.AsyncByteStream):
    """A body that gives its connection back when it is closed."""

    def __init__(self, body: httpx.AsyncByteStream, give_back: Callable[[], None]) -> None:
        self._body = body
        self._give_back: Callable[[], None] | None = give_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        give_back, self._give_back = self._give_back, None
        try:
            await self._body.aclose()
        finally:
            if give_back is not None:
                give_back()
