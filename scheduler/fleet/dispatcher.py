"""Which server gets the next attempt.

Owns: the attempts that wait for a server, and their order. Invariants: an attempt only goes to a server that is open;
evaluations go ahead of commits and commits ahead of pilots, each in the order in which they came.
"""

import asyncio
import hashlib
import heapq
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from scheduler.core.types import Stage
from scheduler.fleet.server import Server

_PRIORITY = {Stage.EVAL: 0, Stage.COMMIT: 1, Stage.PILOT: 2}
"""Evaluations hold back weight pushes, so they go first; commits go ahead of pilots."""
_SPILL_RATE = 0.25
"""A prompt's attempts leave its home once that is fuller than the emptiest server by this share of its capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What a server was when an attempt was sent to it."""

    server: Server
    version: int
    breaks: int
    deaths: int = 0
    stood_still_s: float = 0.0
    """Seconds for which the server had stood still until then."""


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """An attempt without a server."""

    priority: int
    ticket: int
    key: str
    future: "asyncio.Future[Server]"


class Dispatcher:
    """Hands attempts to servers.

    Attempts with the same key have the same home, so that a prompt's commits find what its pilots left in the KV cache.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._waiting: list[_Waiting] = []
        self._ticket = 0

    @asynccontextmanager
    async def slot(self, stage: Stage, key: str) -> AsyncIterator[Dispatch]:
        """An open server, for one attempt; waits as long as there is none."""
        server = await self._next_server(stage, key)
        try:
            yield Dispatch(
                server=server,
                version=server.version,
                breaks=server.breaks,
                deaths=server.deaths,
                stood_still_s=server.stood_still_s(time.monotonic()),
            )
        finally:
            server.gave_back()
            self.dispatch()

    async def _next_server(self, stage: Stage, key: str) -> Server:
        future: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._ticket += 1
        heapq.heappush(self._waiting, _Waiting(_PRIORITY[stage], self._ticket, key, future))
        self.dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().gave_back()
                self.dispatch()
            raise

    def dispatch(self) -> None:
        """Hand attempts that wait to servers with room; whoever makes room calls it."""
        while self._waiting:
            if self._waiting[0].future.done():
                heapq.heappop(self._waiting)
                continue
            if not any(server.is_open for server in self._servers):
                return
            waiting = heapq.heappop(self._waiting)
            server = choose(self._servers, waiting.key)
            server.took()
            waiting.future.set_result(server)


def choose(servers: Sequence[Server], key: str) -> Server:
    """The open server, of which there is at least one, for attempts with this key: their home, or the emptiest.

    Without a key there is no home. It is the open server that the key rates highest (rendezvous hashing: Thaler and
    Ravishankar, IEEE/ACM Transactions on Networking 6 (1), 1998), so that a server that comes or goes moves the prompts
    of its own and no others. It is left while it is much fuller than others, or has just lost an attempt where another
    has not.
    """
    emptiest = min((server for server in servers if server.is_open), key=_unattractiveness)
    home = max((server for server in servers if server.is_open), key=lambda server: _rating(key, server))
    if not key or home.losses > emptiest.losses == 0:
        return emptiest
    return home if home.load - emptiest.load <= _SPILL_RATE else emptiest


def _rating(key: str, server: Server) -> bytes:
    # Not a checksum: those are linear, and a key would rate two servers alike for every other key.
    return hashlib.blake2b(f"{server.url} {key}".encode(), digest_size=8).digest()


def _unattractiveness(server: Server) -> tuple[bool, float]:
    # One that has just lost an attempt comes last: a new attempt goes elsewhere where there is an elsewhere.
    return server.losses > 0, server.load
