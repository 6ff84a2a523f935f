"""The fleet: every SGLang server, and whether it may be sent requests.

Owns: the state of each server and its place in the fleet. Never pushes weights and never retries an attempt.
Invariants: an attempt only goes to a HEALTHY server that serves, whose confirmed version is known; a server that is
new, restarted, unconfirmed or found out is STALE, one that misses a probe SUSPECT, and neither gets anything; every
change of state and of standing is a legal move.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager

import structlog

from inference.client import ServerClient
from inference.protocol import Score, WeightLabel
from scheduler.core.errors import Aborted, ForeignWeights, InferenceError
from scheduler.core.lifecycle import ServerState, Standing, move_server, move_standing
from scheduler.core.types import Completion, Stage
from scheduler.fleet.concurrency import adapted, is_crowded
from scheduler.fleet.dispatcher import Dispatch, Dispatcher
from scheduler.fleet.fitness import ExpectedModel, Fitness, fitness
from scheduler.fleet.members import Members
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
        self,
        clients: Iterable[ServerClient],
        *,
        capacity_per_server: int = 256,
        probe_interval_s: float = 1.0,
        model: ExpectedModel | None = None,
    ) -> None:
        """`model`: what every server is to serve; None leaves that to the checks of what is pushed."""
        self._members = Members(Server(client=client, capacity=capacity_per_server) for client in clients)
        self.servers = self._members.servers
        self._capacity = capacity_per_server
        self._model = model
        self._probe_interval_s = probe_interval_s
        self._run_id = ""
        self._dispatcher = Dispatcher(self.servers)
        self._news = asyncio.Condition()

    async def watch(self) -> None:
        """Look at every server for as long as it is of the fleet."""
        await self.attend(self._watch, name="watch")

    async def _watch(self, server: Server) -> None:
        """Consumes: a server's own word. Produces: its state. Waits for: the next probe. Never unblocked."""
        while True:
            await self._probe(server)
            await asyncio.sleep(self._probe_interval_s)

    async def attend(self, look_after: Callable[[Server], Coroutine[None, None, None]], *, name: str) -> None:
        """Run a loop for every server, for as long as it is of the fleet; raises what a loop raises."""
        await self._members.attend(look_after, name=name)

    async def own(self, run_id: str) -> None:
        """Hand the fleet to a run: whatever an earlier owner or incarnation left in flight is aborted."""
        self._run_id = run_id
        known = [server for server in self.servers if server.answers]
        await asyncio.gather(*(self._take_over(server) for server in known))

    def disown(self) -> None:
        """No run of this scheduler is at work: another scheduler's may be, so servers are looked at and left alone."""
        self._run_id = ""

    # Who is of the fleet.

    async def fitness(self, client: ServerClient) -> Fitness:
        """What a server says of itself, told apart from the others; nothing where it does not answer."""
        others = [server for server in self.servers if server.client is not client]
        return await fitness(client, self._model, [(other.url, other.instance) for other in others])

    def admit(self, client: ServerClient, standing: Standing = Standing.SERVING) -> Server:
        """One more server, STARTING: it gets nothing until it has answered and its weights are confirmed."""
        server = Server(client=client, capacity=self._capacity)
        server.stand(standing)
        self._members.admit(server)
        log.info("server_admitted", url=server.url, standing=standing)
        return server

    async def stand(self, server: Server, standing: Standing) -> None:
        """Give a server another place in the fleet; raises IllegalMove.

        One that serves again may have missed weights: it is STALE until they are confirmed anew.
        """
        server.stand(move_standing(server.standing, standing))
        log.info("server_standing", url=server.url, standing=standing, in_flight=server.in_flight)
        if standing is Standing.SERVING and server.is_confirmed:
            await self.set_state(server, ServerState.STALE, reason="it was drained: its weights are confirmed anew")
        else:
            await self._announce()

    async def cut(self, server: Server) -> None:
        """Lose what is in flight on a server now."""
        server.cut()
        await self._announce()

    async def dismiss(self, server: Server) -> None:
        """Take a server that is leaving out of the fleet: its loops end, and it is left running whatever became of it.

        Raises IllegalMove for one that is not leaving.
        """
        await self.stand(server, Standing.GONE)
        await self._members.dismiss(server)
        async with server.control:
            if server.state is not ServerState.DEAD:
                await self._quietly(server, server.client.resume())
                await self._quietly(server, server.client.abort_all())
        await server.client.aclose()

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

        if not is_settled():
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
        if _was_ordered(dispatch, error):
            return False
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
        return sum(server.takes_attempts for server in self.servers)

    def view(self) -> list[ServerView]:
        """Every server, for people and metrics."""
        return [ServerView.of(server) for server in self.servers]

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
            # Another scheduler may be pushing weights to it: `continue` and aborts are for who owns the run.
            if self._run_id and not await self._left_running(server):
                return
            found = await self.fitness(server.client)
            server.unfit, server.instance = found.unfit, found.instance
            waits = "its weights are not confirmed" if self._run_id else _UNOWNED
            await self.set_state(server, ServerState.STALE, reason=found.unfit or waits)

    async def _left_running(self, server: Server) -> bool:
        """Abort what it has and tell it to continue; whether it took that."""
        await self._quietly(server, server.client.abort_all())
        try:
            await server.client.resume()
        except InferenceError as error:
            await self.set_state(server, ServerState.DEAD if server.answers else server.state, reason=str(error))
            return False
        return True

    async def _quietly(self, server: Server, call: Awaitable[None]) -> None:
        try:
            await call
        except InferenceError as error:
            log.info("abort_failed", url=server.url, reason=str(error))


def _was_ordered(dispatch: Dispatch, error: InferenceError) -> bool:
    """Whether an attempt was lost by our own doing: aborted for new weights, or with a server that was taken out."""
    server = dispatch.server
    updated = server.state is ServerState.UPDATING or server.version != dispatch.version
    return server.is_cut or (isinstance(error, Aborted) and updated)
