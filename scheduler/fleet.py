"""The fleet: every SGLang server, whether it may be sent requests, and who is next.

Owns: the state of each server and the dispatch of attempts to them. Never pushes weights and never retries an attempt.
Invariants: an attempt only goes to a READY server, whose confirmed version is known; commits go ahead of pilots; a
server that is new, restarted or unconfirmed is STALE and gets nothing.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from inference.client import ServerClient
from inference.protocol import WeightLabel
from scheduler.core.errors import InferenceError
from scheduler.core.types import Stage

log = structlog.get_logger(__name__)

_PRIORITY = {Stage.EVAL: 0, Stage.COMMIT: 1, Stage.PILOT: 2}
"""Evaluations hold back weight pushes, so they go first; commits go ahead of pilots."""
_PROBES_BEFORE_UNREACHABLE = 2


class ServerState(StrEnum):
    """Whether a server may be sent requests."""

    UNREACHABLE = "unreachable"
    """It does not answer."""
    STALE = "stale"
    """It answers, but which weights it holds is not confirmed."""
    UPDATING = "updating"
    """It is being given weights."""
    READY = "ready"
    """It holds a confirmed version and takes requests."""


@dataclass(slots=True, kw_only=True, eq=False)
class Server:
    """One server as the fleet knows it."""

    client: ServerClient
    capacity: int
    """Attempts in flight at most."""
    state: ServerState = ServerState.UNREACHABLE
    version: int = 0
    """The weight version confirmed last; 0 before any."""
    in_flight: int = 0
    reason: str = "not asked yet"
    failed_probes: int = 0
    control: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One control operation at a time."""

    @property
    def url(self) -> str:
        """Where it is."""
        return self.client.base_url


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """What an operator sees of a server."""

    url: str
    state: ServerState
    version: int
    in_flight: int
    capacity: int
    reason: str


class Fleet:
    """Dispatches attempts to servers and watches them."""

    def __init__(
        self, clients: Iterable[ServerClient], *, capacity_per_server: int = 256, probe_interval_s: float = 1.0
    ) -> None:
        self.servers = [Server(client=client, capacity=capacity_per_server) for client in clients]
        self._probe_interval_s = probe_interval_s
        self._run_id = ""
        self._waiting: list[tuple[int, int, asyncio.Future[Server]]] = []
        self._ticket = 0
        self._news = asyncio.Condition()

    async def watch(self) -> None:
        """Consumes: the servers' own word. Produces: their states. Waits for: the next probe. Never unblocked."""
        while True:
            await asyncio.gather(*(self._probe(server) for server in self.servers))
            await asyncio.sleep(self._probe_interval_s)

    async def own(self, run_id: str) -> None:
        """Hand the fleet to a run: whatever an earlier owner or incarnation left in flight is aborted."""
        self._run_id = run_id
        for server in self.servers:
            if server.state is not ServerState.UNREACHABLE:
                await self._take_over(server)
        await self._tell()

    @asynccontextmanager
    async def slot(self, stage: Stage) -> AsyncIterator[Server]:
        """A READY server with room, for one attempt; waits as long as there is none."""
        server = await self._next_server(stage)
        try:
            yield server
        finally:
            server.in_flight -= 1
            self._dispatch()

    async def _next_server(self, stage: Stage) -> Server:
        future: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._ticket += 1
        heapq.heappush(self._waiting, (_PRIORITY[stage], self._ticket, future))
        self._dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().in_flight -= 1
                self._dispatch()
            raise

    def _dispatch(self) -> None:
        while self._waiting:
            if self._waiting[0][2].done():
                heapq.heappop(self._waiting)
                continue
            open_servers = [
                server
                for server in self.servers
                if server.state is ServerState.READY and server.in_flight < server.capacity
            ]
            if not open_servers:
                return
            server = min(open_servers, key=lambda server: server.in_flight / server.capacity)
            server.in_flight += 1
            heapq.heappop(self._waiting)[2].set_result(server)

    async def set_state(self, server: Server, state: ServerState, *, reason: str = "", version: int = 0) -> None:
        """Change a server's state; `version` is the one confirmed with READY."""
        if server.state is not state:
            log.info("server", url=server.url, state=state, reason=reason, run=self._run_id, version=version)
        server.state, server.reason = state, reason
        if state is ServerState.READY:
            server.version = version
        await self._tell()

    async def confirmed(self, server: Server, version: int, *, timeout_s: float) -> bool:
        """Whether the server confirms `version` or a newer one in time; at once if it has."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: server.version >= version)
        except TimeoutError:
            return False
        return True

    async def news(self) -> None:
        """Return at the next change of any server's state."""
        async with self._news:
            await self._news.wait()

    async def doubt(self, server: Server, rid: str) -> None:
        """An attempt did not come back: abort it in case it still runs, and look at the server at once."""
        await self._probe(server)
        if server.state is not ServerState.UNREACHABLE:
            await self._quietly(server, server.client.abort(rid))

    async def abort_all(self) -> None:
        """Abort whatever is in flight on every server that answers."""
        for server in self.servers:
            if server.state is not ServerState.UNREACHABLE:
                await self._quietly(server, server.client.abort_all())

    def num_ready(self) -> int:
        """Servers that take requests."""
        return sum(server.state is ServerState.READY for server in self.servers)

    def view(self) -> list[ServerView]:
        """Every server, for people and metrics."""
        return [
            ServerView(
                url=server.url,
                state=server.state,
                version=server.version,
                in_flight=server.in_flight,
                capacity=server.capacity,
                reason=server.reason,
            )
            for server in self.servers
        ]

    async def aclose(self) -> None:
        """Close every client."""
        for server in self.servers:
            await server.client.aclose()

    async def _probe(self, server: Server) -> None:
        if server.control.locked():
            return
        try:
            info = await server.client.model_info()
        except InferenceError as error:
            server.failed_probes += 1
            if server.failed_probes >= _PROBES_BEFORE_UNREACHABLE or server.in_flight == 0:
                await self.set_state(server, ServerState.UNREACHABLE, reason=str(error))
            return
        server.failed_probes = 0
        if server.state is ServerState.UNREACHABLE:
            await self._take_over(server)
        elif server.state is ServerState.READY and info.weight_version != self._label(server):
            await self.set_state(server, ServerState.STALE, reason=f"it restarted: it serves {info.weight_version}")

    def _label(self, server: Server) -> str:
        return str(WeightLabel(run=self._run_id, version=server.version))

    async def _take_over(self, server: Server) -> None:
        """A server that we meet for the first time may be paused or busy with another's requests."""
        async with server.control:
            await self._quietly(server, server.client.abort_all())
            try:
                await server.client.resume()
            except InferenceError as error:
                await self.set_state(server, ServerState.UNREACHABLE, reason=str(error))
                return
            await self.set_state(server, ServerState.STALE, reason="its weights are not confirmed")

    async def _quietly(self, server: Server, call: Awaitable[None]) -> None:
        try:
            await call
        except InferenceError as error:
            log.info("abort_failed", url=server.url, reason=str(error))

    async def _tell(self) -> None:
        self._dispatch()
        async with self._news:
            self._news.notify_all()
