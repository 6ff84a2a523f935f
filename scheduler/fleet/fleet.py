"""The fleet: every SGLang server, and whether it may be sent requests.

Owns: the state of each server. Never pushes weights and never retries an attempt. Invariants: an attempt only goes to a
HEALTHY server, whose confirmed version is known; a server that is new, restarted, unconfirmed or found out is STALE,
one that misses a probe SUSPECT, and neither gets anything; every change of state is a legal move.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable
from contextlib import AbstractAsyncContextManager

import structlog

from inference.client import ServerClient
from inference.protocol import Score, WeightLabel
from scheduler.core.errors import ForeignWeights, InferenceError
from scheduler.core.lifecycle import ServerState, move_server
from scheduler.core.types import Completion, Stage
from scheduler.fleet.concurrency import adapted, is_crowded
from scheduler.fleet.dispatcher import Dispatch, Dispatcher
from scheduler.fleet.server import Server, ServerView

log = structlog.get_logger(__name__)

_PROBES_BEFORE_DEAD = 2
_UNOWNED = "no run of this scheduler is at work"
_TRIES_TO_CONTINUE = 3
_LOSSES_BEFORE_STALE = 8
"""A server that answers every attempt with an error answers fast, so it would draw ever more of them."""


class Fleet:
    """Dispatches attempts to servers and watches them."""

    def __init__(
        self, clients: Iterable[ServerClient], *, capacity_per_server: int = 256, probe_interval_s: float = 1.0
    ) -> None:
        self.servers = [Server(client=client, capacity=capacity_per_server) for client in clients]
        self._probe_interval_s = probe_interval_s
        self._run_id = ""
        self._dispatcher = Dispatcher(self.servers)
        self._news = asyncio.Condition()

    async def watch(self) -> None:
        """Consumes: the servers' own word. Produces: their states. Waits for: the next probe. Never unblocked."""
        while True:
            await asyncio.gather(*(self._probe(server) for server in self.servers))
            await asyncio.sleep(self._probe_interval_s)

    async def own(self, run_id: str) -> None:
        """Hand the fleet to a run: whatever an earlier owner or incarnation left in flight is aborted."""
        self._run_id = run_id
        known = [server for server in self.servers if server.answers]
        await asyncio.gather(*(self._take_over(server) for server in known))

    def disown(self) -> None:
        """No run of this scheduler is at work: another scheduler's may be, so servers are looked at and left alone."""
        self._run_id = ""

    # Dispatch.

    def slot(self, stage: Stage, key: str = "") -> AbstractAsyncContextManager[Dispatch]:
        """A HEALTHY server with room, for one attempt; waits as long as there is none.

        Attempts with the same key go to the same server while that is not much fuller than others.
        """
        return self._dispatcher.slot(stage, key)

    def dispatch(self) -> None:
        """Hand attempts that wait to servers with room."""
        self._dispatcher.dispatch()

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
        if server.answers:
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

    async def recall(self, dispatch: Dispatch, rid: str) -> None:
        """Abort an attempt that nobody wants any more; its server is not to blame."""
        await self._quietly(dispatch.server, dispatch.server.client.abort(rid))

    # States.

    async def set_state(
        self, server: Server, state: ServerState, *, reason: str = "", version: int | None = None
    ) -> None:
        """Change a server's state; `version` is one that was just confirmed. Raises IllegalMove."""
        self.note_state(server, state, reason=reason, version=version)
        await self._announce()

    def note_state(self, server: Server, state: ServerState, *, reason: str = "", version: int | None = None) -> None:
        """The same without telling those who wait for news: where a cancelled caller must not wait."""
        if server.state is not state:
            move_server(server.state, state)
            log.info(
                "server",
                url=server.url,
                state=state,
                reason=reason,
                run=self._run_id,
                version=version or server.version,
            )
            server.deaths += state is ServerState.DEAD
        server.enter(state, time.monotonic())
        server.reason = reason
        if version is not None:
            server.version, server.losses = version, 0

    async def news(self) -> None:
        """Return at the next change of any server's state or capacity."""
        async with self._news:
            await self._news.wait()

    async def abort_all(self) -> None:
        """Abort whatever is in flight on every server that answers."""
        known = [server for server in self.servers if server.answers]
        await asyncio.gather(*(self._quietly(server, server.client.abort_all()) for server in known))

    async def continue_all(self) -> None:
        """Leave no server paused, whatever the run's last push came to; one that is away is for its next owner."""
        await asyncio.gather(*(self._continue(server) for server in self.servers if server.answers))

    async def _continue(self, server: Server) -> None:
        for _ in range(_TRIES_TO_CONTINUE):
            try:
                return await server.client.resume()
            except InferenceError as error:
                log.info("continue_failed", url=server.url, reason=str(error))

    def num_healthy(self) -> int:
        """Servers that take requests."""
        return sum(server.state is ServerState.HEALTHY for server in self.servers)

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
        if not server.answers:
            await self._take_over(server, met_already=False)
        elif server.is_confirmed and label != self._label(server):
            await self._distrust(server, f"it restarted: it serves {label}" if self._run_id else _UNOWNED)
        elif server.state is ServerState.SUSPECT:
            await self.set_state(server, ServerState.HEALTHY)
        else:
            await self._adapt(server)

    async def _adapt(self, server: Server) -> None:
        """Give it no more attempts than it has room for."""
        if server.state is not ServerState.HEALTHY or not server.in_flight:
            return
        try:
            load = await server.client.loads()
        except InferenceError as error:
            # It has just answered; whether it is well is for the next probe to say.
            log.info("load_unknown", url=server.url, reason=str(error))
            return
        capacity = adapted(
            server.capacity,
            load,
            in_flight=server.in_flight,
            ceiling=server.ceiling,
            crowded_before=server.was_crowded,
        )
        server.was_crowded = is_crowded(load)
        if capacity != server.capacity:
            log.debug("capacity", url=server.url, before=server.capacity, now=capacity, waiting=load.num_waiting)
            server.capacity = capacity
            await self._announce()

    async def _missed(self, server: Server, reason: str) -> None:
        server.failed_probes += 1
        if server.state is ServerState.STARTING:
            server.reason = reason
        elif server.failed_probes >= _PROBES_BEFORE_DEAD:
            await self.set_state(server, ServerState.DEAD, reason=reason)
        elif server.state is ServerState.HEALTHY:
            await self.set_state(server, ServerState.SUSPECT, reason=reason)

    async def _announce(self) -> None:
        self.dispatch()
        async with self._news:
            self._news.notify_all()

    def _label(self, server: Server) -> str:
        return str(WeightLabel(run=self._run_id, version=server.version))

    async def _distrust(self, server: Server, reason: str) -> None:
        """Send it nothing until its weights are confirmed anew; an update under way will do just that."""
        if server.is_confirmed and not server.control.locked():
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
            if not met_already and server.answers:
                return
            server.version = 0
            server.breaks += 1
            if not self._run_id:
                # Another scheduler may be pushing weights to it: `continue` and aborts are for who owns the run.
                await self.set_state(server, ServerState.STALE, reason=_UNOWNED)
                return
            await self._quietly(server, server.client.abort_all())
            try:
                await server.client.resume()
            except InferenceError as error:
                state = ServerState.DEAD if server.answers else server.state
                await self.set_state(server, state, reason=str(error))
                return
            await self.set_state(server, ServerState.STALE, reason="its weights are not confirmed")

    async def _quietly(self, server: Server, call: Awaitable[None]) -> None:
        try:
            await call
        except InferenceError as error:
            log.info("abort_failed", url=server.url, reason=str(error))
