"""A TCP link that can be made to fail.

Owns: the connections between one side and the other, and what is done to them. Never knows what is said, apart from
where an HTTP request ends. Invariant: a fault that was ordered strikes what passes next, and is counted when it does.
"""

import asyncio
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 16
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class _Connection:
    """One client and what it is connected to."""

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    is_between_requests: bool = True
    """Whether what the client says next begins a request."""

    def reset(self) -> None:
        """End both sides without a goodbye."""
        for writer in (self.client, self.upstream):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


@dataclass(slots=True, eq=False)
class Link:
    """Forwards connections to `upstream`, which is asked anew for every connection."""

    upstream: Callable[[], tuple[str, int]]
    hits: int = 0
    """Faults that struck something."""
    port: int = 0
    _connections: set[_Connection] = field(default_factory=set)
    _slow_until: float = 0.0
    _slow_by_s: float = 0.0
    _cuts: int = 0
    _refusals: list[int] = field(default_factory=list)

    def reset_all(self) -> None:
        """Reset every connection."""
        self.hits += bool(self._connections)
        for connection in list(self._connections):
            connection.reset()

    def slow_down(self, *, by_s: float, for_s: float) -> None:
        """Hold back what comes from upstream."""
        self._slow_by_s, self._slow_until = by_s, time.monotonic() + for_s

    def cut_next(self) -> None:
        """Break off the next thing that comes from upstream in its middle."""
        self._cuts += 1

    def refuse_next(self, status: int, count: int = 1) -> None:
        """Answer the next requests with this status, in upstream's place."""
        self._refusals += [status] * count

    def heal(self) -> None:
        """Forget what has not struck yet."""
        self._slow_until, self._cuts = 0.0, 0
        self._refusals.clear()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port on which it listens while the block lasts."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self.port
        finally:
            server.close()
            for connection in list(self._connections):
                connection.reset()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self.upstream())
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, upstream_writer)
        self._connections.add(connection)
        ways = [
            asyncio.create_task(self._towards(reader, connection)),
            asyncio.create_task(self._back(upstream_reader, connection)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(connection)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, upstream_writer):
                end.close()

    async def _towards(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while said := await reader.read(_CHUNK):
            if connection.is_between_requests and self._refusals:
                await self._refuse(said, reader, connection.client)
                return
            connection.is_between_requests = False
            connection.upstream.write(said)
            await connection.upstream.drain()

    async def _back(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while said := await reader.read(_CHUNK):
            connection.is_between_requests = True
            if time.monotonic() < self._slow_until:
                self.hits += 1
                await asyncio.sleep(self._slow_by_s)
            if self._cuts:
                self._cuts -= 1
                self.hits += 1
                connection.client.write(said[: len(said) // 2])
                return
            connection.client.write(said)
            await connection.client.drain()

    async def _refuse(self, said: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = self._refusals.pop(0)
        self.hits += 1
        # Read to its end: a request that is still being sent when the connection closes never sees the answer.
        while b"\r\n\r\n" not in said and (more := await reader.read(_CHUNK)):
            said += more
        head, _, body = said.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        missing = int(found[1]) - len(body) if found else 0
        if missing > 0:
            with suppress(asyncio.IncompleteReadError):
                await reader.readexactly(missing)
        answer = f"HTTP/1.1 {status} Chaos\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(answer.encode())
        await writer.drain()
