"""The fleet: every SGLang server, whether it may be sent requests, and who is next.

Owns: the state of each server and the dispatch of attempts to them. Never pushes weights and never retries an attempt.
Invariants: an attempt only goes to a READY server, whose confirmed version is known; commits go ahead of pilots; a
server that is new, restarted, unconfirmed or found out is STALE and gets nothing.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from inference.client import ServerClient
from inference.protocol import Score, WeightLabel
from scheduler.core.errors import ForeignWeights, InferenceError
from scheduler.core.types import Completion, Stage

log = structlog.get_logger(__name__)

_PRIORITY = {Stage.EVAL: 0, Stage.COMMIT: 1, Stage.PILOT: 2}
"""Evaluations hold back weight pushes, so they go first; commits go ahead of pilots."""
_PROBES_BEFORE_UNREACHABLE = 2
_LOSSES_BEFORE_STALE = 8
"""A server that answers every attempt with an error answers fast, so it would draw ever more of them."""


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
    breaks: int = 0
    """Grows when its weights can no longer be vouched for: what was in flight then is lost, whatever comes back."""
    deaths: int = 0
    """How often it has stopped answering."""
    in_flight: int = 0
    is_draining: bool = False
    """It is about to be given weights: what is in flight ends, nothing new is sent."""
    reason: str = "not asked yet"
    failed_probes: int = 0
    losses: int = 0
    """Attempts lost in a row."""
    control: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One control operation at a time."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is in flight."""

    def __post_init__(self) -> None:
        self._idle.set()

    @property
    def url(self) -> str:
        """Where it is."""
        return self.client.base_url

    @property
    def is_open(self) -> bool:
        """Whether one more attempt may be sent to it."""
        return self.state is ServerState.READY and not self.is_draining and self.in_flight < self.capacity

    def took(self) -> None:
        """One more attempt is in flight."""
        self.in_flight += 1
        self._idle.clear()

    def gave_back(self) -> None:
        """One attempt has ended."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def drain(self, within_s: float) -> None:
        """Send nothing new until nothing is in flight, for `within_s` at most.

        Its control lock stays free meanwhile: whoever loses an attempt can look whether the server is gone.
        """
        self.is_draining = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._idle.wait()
        finally:
            self.is_draining = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What a server was when an attempt was sent to it."""

    server: Server
    version: int
    breaks: int
    deaths: int = 0


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
        known = [server for server in self.servers if server.state is not ServerState.UNREACHABLE]
        await asyncio.gather(*(self._take_over(server) for server in known))

    # Dispatch.

    @asynccontextmanager
    async def slot(self, stage: Stage) -> AsyncIterator[Dispatch]:
        """A READY server with room, for one attempt; waits as long as there is none."""
        server = await self._next_server(stage)
        try:
            yield Dispatch(server=server, version=server.version, breaks=server.breaks, deaths=server.deaths)
        finally:
            server.gave_back()
            self.dispatch()

    async def _next_server(self, stage: Stage) -> Server:
        future: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._ticket += 1
        heapq.heappush(self._waiting, (_PRIORITY[stage], self._ticket, future))
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
            if self._waiting[0][2].done():
                heapq.heappop(self._waiting)
                continue
            open_servers = [server for server in self.servers if server.is_open]
            if not open_servers:
                return
            # One that has just lost an attempt comes last: a new attempt goes elsewhere where there is an elsewhere.
            server = min(open_servers, key=lambda server: (server.losses > 0, server.in_flight / server.capacity))
            server.took()
            heapq.heappop(self._waiting)[2].set_result(server)

    async def vouched(self, dispatch: Dispatch, reply: Completion | Score, *, timeout_s: float) -> str:
        """Empty once every token is known to be of a confirmed version; else why the reply is not to be used.

        A token sampled during an update is of a version that is not confirmed yet: it is waited for.
        """
        server = dispatch.server
        server.losses = 0
        oldest, newest = reply.spans[0].version, reply.spans[-1].version
        if oldest < dispatch.version:
            reason = f"it answered with version {oldest} where {dispatch.version} was confirmed"
            await self._distrust(server, reason)
            return f"{server.url}: {reason}"

        def is_settled() -> bool:
            return server.version >= newest or server.breaks != dispatch.breaks

        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(is_settled)
        except TimeoutError:
            return f"{server.url} never confirmed weight version {newest}"
        return "" if server.breaks == dispatch.breaks else f"{server.url} failed to update while it was at it"

    async def lost(self, dispatch: Dispatch, rid: str, error: InferenceError) -> bool:
        """An attempt did not come back: look at its server at once, and abort it there in case it still runs.

        Says whether the server is gone.
        """
        server = dispatch.server
        server.losses += 1
        if server.state is not ServerState.UNREACHABLE:
            # A lost attempt and a probe that fails are enough.
            server.failed_probes += 1
            await self._probe(server)
        if server.deaths > dispatch.deaths:
            # It may be back already.
            return True
        if isinstance(error, ForeignWeights):
            await self._distrust(server, str(error))
        elif server.losses >= _LOSSES_BEFORE_STALE:
            await self._distrust(server, f"{server.losses} attempts in a row were lost, the last one: {error}")
        else:
            await self._distrust_if_paused(server)
        await self._quietly(server, server.client.abort(rid))
        return False

    # States.

    async def set_state(self, server: Server, state: ServerState, *, reason: str = "", version: int = 0) -> None:
        """Change a server's state; `version` is the one confirmed with READY."""
        if server.state is not state:
            log.info("server", url=server.url, state=state, reason=reason, run=self._run_id, version=version)
        server.deaths += state is ServerState.UNREACHABLE and server.state is not state
        server.state, server.reason = state, reason
        if state is ServerState.READY:
            server.version, server.losses = version, 0
        self.dispatch()
        async with self._news:
            self._news.notify_all()

    async def news(self) -> None:
        """Return at the next change of any server's state."""
        async with self._news:
            await self._news.wait()

    async def abort_all(self) -> None:
        """Abort whatever is in flight on every server that answers."""
        known = [server for server in self.servers if server.state is not ServerState.UNREACHABLE]
        await asyncio.gather(*(self._quietly(server, server.client.abort_all()) for server in known))

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

    # Looking at servers.

    async def _probe(self, server: Server) -> None:
        before = server.state, server.version
        if server.control.locked():
            return
        try:
            label = (await server.client.model_info()).weight_version
        except InferenceError as error:
            if not server.control.locked():
                await self._missed(server, str(error))
            return
        if server.control.locked() or (server.state, server.version) != before:
            # A control operation overtook the answer and knows better.
            return
        server.failed_probes = 0
        if server.state is ServerState.UNREACHABLE:
            await self._take_over(server, met_already=False)
        elif server.state is ServerState.READY and label != self._label(server):
            await self._distrust(server, f"it restarted: it serves {label}")

    async def _missed(self, server: Server, reason: str) -> None:
        server.failed_probes += 1
        if server.failed_probes >= _PROBES_BEFORE_UNREACHABLE or server.in_flight == 0:
            await self.set_state(server, ServerState.UNREACHABLE, reason=reason)

    def _label(self, server: Server) -> str:
        return str(WeightLabel(run=self._run_id, version=server.version))

    async def _distrust(self, server: Server, reason: str) -> None:
        """Send it nothing until its weights are confirmed anew; an update under way will do just that."""
        if server.state is ServerState.READY and not server.control.locked():
            server.breaks += 1
            await self.set_state(server, ServerState.STALE, reason=reason)

    async def _distrust_if_paused(self, server: Server) -> None:
        before = server.state, server.version
        if server.control.locked() or await server.client.is_ready():
            return
        if (server.state, server.version) == before:
            await self._distrust(server, "it is paused, and not by this scheduler")

    async def _take_over(self, server: Server, *, met_already: bool = True) -> None:
        """A server that we meet for the first time may be paused or busy with another's requests."""
        async with server.control:
            if not met_already and server.state is not ServerState.UNREACHABLE:
                return
            server.version = 0
            server.breaks += 1
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
