"""A network link to Redis that can lose an answer, whose command was applied, or hold it back for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class LossyLink:
    """Forwards bytes between a client and Redis until it is told to lose or to hold the next answer."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._losing = False
        self._passing_on = asyncio.Event()
        self._passing_on.set()
        self.holding = asyncio.Event()
        """An answer has come and is held."""
        self._links: set[asyncio.Task[None]] = set()
        self.lost = 0
        """Answers that were lost."""

    def lose_next_answer(self) -> None:
        """Cut the link instead of passing on the next thing that Redis says."""
        self._losing = True

    def hold_next_answer(self) -> None:
        """Keep what Redis says until `pass_on`."""
        self._passing_on.clear()

    def pass_on(self) -> None:
        """Let go of a held answer."""
        self._passing_on.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        ways = [
            asyncio.create_task(self._upstream(reader, upstream_writer)),
            asyncio.create_task(self._downstream(upstream_reader, writer)),
        ]
        self._links.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._links.difference_update(ways)
            for end in (writer, upstream_writer):
                end.close()

    async def _upstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1 << 16):
            writer.write(said)
            await writer.drain()

    async def _downstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1 << 16):
            if self._losing:
                self._losing = False
                self.lost += 1
                return
            if not self._passing_on.is_set():
                self.holding.set()
                await self._passing_on.wait()
            writer.write(said)
            await writer.drain()

    def cut(self) -> None:
        """End every connection."""
        for link in self._links:
            link.cancel()


@asynccontextmanager
async def lossy_link(redis_url: str) -> AsyncIterator[tuple[LossyLink, str]]:
    """A link to the server at `redis_url`, and the URL at which it listens."""
    there = urlsplit(redis_url)
    link = LossyLink(there.hostname or "127.0.0.1", there.port or 6379)
    server = await asyncio.start_server(link.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield link, f"redis://127.0.0.1:{port}{there.path}"
    finally:
        server.close()
        link.cut()
        await server.wait_closed()
