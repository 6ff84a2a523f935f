"""Which server gets the next attempt.

Owns: the attempts that wait for a server, and their order. Invariants: an attempt only goes to a server that is open;
evaluations go ahead of commits and commits ahead of pilots, each in the order in which they came; an attempt costs
about the same whether there are two servers or five hundred.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from scheduler.core.types import Stage
from scheduler.fleet.preferences import Preferences
from scheduler.fleet.server import Server

_FIRST_TO_LAST = (Stage.EVAL, Stage.COMMIT, Stage.PILOT)
"""Evaluations hold back weight pushes, so they go first; commits go ahead of pilots."""
_SPILL_RATE = 0.25
"""A prompt's attempts leave its home once that is fuller than the emptiest server by this share of its capacity."""
_LOOKED_AT = 16
"""Open servers among which the emptiest is looked for. With two of them taken at random the fullest server is hardly
fuller than the mean (Mitzenmacher, IEEE Transactions on Parallel and Distributed Systems 12 (10), 2001)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What a server was when an attempt was sent to it."""

    server: Server
    version: int
    breaks: int
    deaths: int = 0
    stood_still_s: float = 0.0
    """Seconds for which the server had stood still until then."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An attempt without a server."""

    key: str
    future: "asyncio.Future[Server]"


class Dispatcher:
    """Hands attempts to servers.

    Attempts with the same key have the same home, so that a prompt's commits find what its pilots left in the KV cache.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._preferences = Preferences(servers)
        self._with_room: set[Server] = set()
        """All that are open, and some that were when they were looked at last."""
        self._waiting: dict[Stage, deque[_Waiting]] = {stage: deque() for stage in _FIRST_TO_LAST}

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
            self._gave_back(server)

    async def _next_server(self, stage: Stage, key: str) -> Server:
        future: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._waiting[stage].append(_Waiting(key, future))
        self._hand_out()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._gave_back(future.result())
            raise

    def _gave_back(self, server: Server) -> None:
        server.gave_back()
        self._with_room.add(server)
        self._hand_out()

    def dispatch(self) -> None:
        """Look at every server again and hand attempts that wait to those with room; whoever opens one calls it."""
        self._with_room = {server for server in self._servers if server.is_open}
        self._hand_out()

    def _hand_out(self) -> None:
        for queue in self._waiting.values():
            while queue and self._with_room:
                waiting = queue[0]
                if waiting.future.done():
                    queue.popleft()
                    continue
                candidates = list(islice(self._open(waiting.key), _LOOKED_AT if waiting.key else None))
                if not candidates:
                    # Whatever is closed now is looked at again when it opens.
                    self._with_room.clear()
                    return
                queue.popleft()
                server = choose(candidates, has_home=bool(waiting.key))
                server.took()
                waiting.future.set_result(server)

    def _open(self, key: str) -> Iterator[Server]:
        """Open servers, those first that the key prefers."""
        return (server for server in self._preferences.of(key) if server in self._with_room and server.is_open)


def choose(candidates: Sequence[Server], *, has_home: bool) -> Server:
    """Of open servers in the order of preference, at least one: the first, the attempts' home, or else the emptiest.

    Home is left while it is much fuller than others, or has just lost an attempt where another has not.
    """
    home, emptiest = candidates[0], min(candidates, key=_unattractiveness)
    if not has_home or home.losses > emptiest.losses == 0:
        return emptiest
    return home if home.load - emptiest.load <= _SPILL_RATE else emptiest


def _unattractiveness(server: Server) -> tuple[bool, float]:
    # One that has just lost an attempt comes last: a new attempt goes elsewhere where there is an elsewhere.
    return server.losses > 0, server.load
