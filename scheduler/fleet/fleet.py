"""The fleet: every SGLang server, and whether it may be sent requests.

Owns: the state of each server, its place in the fleet, and which run owns it. Never pushes weights and never sends an
attempt. Invariants: one run owns a server at a time; a server that is new, restarted, unconfirmed, found out or of no
run is STALE, one that misses a probe SUSPECT, and neither gets anything; every change of state and of standing is a
legal move.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable

import structlog

from inference.client import ServerClient
from inference.protocol import WeightLabel
from scheduler.core.errors import InferenceError
from scheduler.core.labels import ANY, Labels, told
from scheduler.core.lifecycle import ServerState, Standing, move_server, move_standing
from scheduler.fleet.concurrency import adapted, is_crowded
from scheduler.fleet.fitness import UNASKED, ExpectedModel, Fitness, fitness
from scheduler.fleet.members import Members
from scheduler.fleet.reference import Reference
from scheduler.fleet.server import Server, ServerView
from scheduler.fleet.share import Share
from scheduler.fleet.traits import PLAIN, Traits
from scheduler.tokenizers import Tokenizers

log = structlog.get_logger(__name__)

_PROBES_BEFORE_DEAD = 2
_UNOWNED = "no run of this scheduler is at work"


class Fleet:
    """Watches servers and gives them to runs."""

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
        self.tokenizers = Tokenizers()
        """By folder: those of prompts, and the one that servers have to have."""
        self._reference = Reference(model.folder, self.tokenizers) if model is not None else None
        self._probe_interval_s = probe_interval_s
        self._shares: list[Share] = []
        """Of the runs at work, in the order in which they began."""
        self._news = asyncio.Condition()

    async def watch(self) -> None:
        """Look at every server for as long as it is of the fleet."""
        await self.attend(self._watch, name="watch")

    async def _watch(self, server: Server) -> None:
        """Consumes: a server's own word. Produces: its state. Waits for: the next probe. Never unblocked."""
        while True:
            await self.probe(server)
            if server.share is None and (share := self._taker(server)) is not None:
                server.share = share
                await self.take_over(server)
            await asyncio.sleep(self._probe_interval_s)

    async def attend(self, look_after: Callable[[Server], Coroutine[None, None, None]], *, name: str) -> None:
        """Run a loop for every server, for as long as it is of the fleet; raises what a loop raises."""
        await self._members.attend(look_after, name=name)

    # Which run owns a server.

    def share_for(self, run_id: str, wanted: Labels = ANY) -> Share:
        """The servers with these labels that no run owns, reserved for this one; `take_over` makes them its own."""
        share = Share(self, run_id=run_id, wanted=wanted)
        self._shares.append(share)
        for server in [server for server in self.servers if server.share is None and share.wants(server)]:
            server.share = share
        return share

    def release(self, share: Share) -> None:
        """The run is over, or another scheduler's: its servers are free, and are looked at and left alone."""
        self._shares.remove(share)
        for server in [server for server in self.servers if server.share is share]:
            server.share = None
            server.version = 0
            if server.is_confirmed:
                self.note_state(server, ServerState.STALE, reason=_UNOWNED)
        share.close()

    async def take_over(self, server: Server) -> None:
        """A server that a run has just been given: whatever an earlier owner or incarnation left there is aborted."""
        share = server.share
        if server.answers:
            await self._take_over(server)
        if share is not None and share is server.share:
            share.admit(server)

    def _taker(self, server: Server) -> Share | None:
        """Of the runs at work, the one that began first of those that want this server."""
        return next((share for share in self._shares if share.wants(server)), None)

    # Who is of the fleet.

    async def fitness(self, client: ServerClient) -> Fitness:
        """What a server says of itself, told apart from the others; nothing where it does not answer."""
        others = [server for server in self.servers if server.client is not client]
        known = [(other.url, other.instance) for other in others]
        return await fitness(client, self._model, known, self._reference)

    def admit(
        self,
        client: ServerClient,
        standing: Standing = Standing.SERVING,
        traits: Traits = PLAIN,
        found: Fitness = UNASKED,
    ) -> Server:
        """One more server, STARTING: it gets nothing until it has answered and its weights are confirmed.

        `found` is what it has said of itself already, if it was asked.
        """
        server = Server(client=client, capacity=self._capacity, traits=traits)
        server.instance, server.warnings = found.instance, found.warnings
        server.stand(standing)
        self._members.admit(server)
        server.share = self._taker(server)
        if server.share is not None:
            server.share.admit(server)
        log.info("server_admitted", url=server.url, standing=standing, labels=told(traits.labels))
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
            await self._announce(server)

    async def cut(self, server: Server) -> None:
        """Lose what is in flight on a server now."""
        server.cut()
        await self._announce(server)

    async def dismiss(self, server: Server) -> None:
        """Take a server that is leaving out of the fleet: its loops end, and it is left running whatever became of it.

        Raises IllegalMove for one that is not leaving.
        """
        await self.stand(server, Standing.GONE)
        if server.share is not None:
            await server.share.dismiss(server)
        await self._members.dismiss(server)
        async with server.control:
            if server.state is not ServerState.DEAD:
                await self.quietly(server.client.resume(), server)
                await self.quietly(server.client.abort_all(), server)
        await server.client.aclose()

    # States.

    async def set_state(
        self, server: Server, state: ServerState, *, reason: str = "", version: int | None = None
    ) -> None:
        """Change a server's state; `version` is one that was just confirmed. Raises IllegalMove."""
        self.note_state(server, state, reason=reason, version=version)
        await self._announce(server)

    def note_state(self, server: Server, state: ServerState, *, reason: str = "", version: int | None = None) -> None:
        """The same without telling those who wait for news: where a cancelled caller must not wait."""
        if server.state is not state:
            move_server(server.state, state)
            log.info(
                "server",
                url=server.url,
                state=state,
                reason=reason,
                run=server.run_id,
                version=version or server.version,
            )
            server.deaths += state is ServerState.DEAD
        server.enter(state, time.monotonic())
        server.reason = reason
        if version is not None:
            server.version, server.losses = version, 0

    async def until(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Return once the condition holds, which is looked at whenever there is news; raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(condition)

    async def news(self) -> None:
        """Return at the next change of any server's state or capacity."""
        async with self._news:
            await self._news.wait()

    def view(self) -> list[ServerView]:
        """Every server, for people and metrics."""
        return [ServerView.of(server) for server in self.servers]

    async def aclose(self) -> None:
        """Close every client."""
        for server in self.servers:
            await server.client.aclose()

    # Looking at servers.

    async def probe(self, server: Server) -> None:
        """Ask a server how it is, and take it at its word."""
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
            await self.distrust(server, f"it restarted: it serves {label}" if server.share else _UNOWNED)
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
            await self._announce(server)

    async def _missed(self, server: Server, reason: str) -> None:
        server.failed_probes += 1
        if server.state is ServerState.STARTING:
            server.reason = reason
        elif server.failed_probes >= _PROBES_BEFORE_DEAD:
            await self.set_state(server, ServerState.DEAD, reason=reason)
        elif server.state is ServerState.HEALTHY:
            await self.set_state(server, ServerState.SUSPECT, reason=reason)

    async def _announce(self, server: Server) -> None:
        if server.share is not None:
            server.share.dispatch()
        async with self._news:
            self._news.notify_all()

    def _label(self, server: Server) -> str:
        return str(WeightLabel(run=server.run_id, version=server.version))

    async def distrust(self, server: Server, reason: str) -> None:
        """Send it nothing until its weights are confirmed anew; an update under way will do just that."""
        if server.is_confirmed and not server.control.locked():
            server.breaks += 1
            await self.set_state(server, ServerState.STALE, reason=reason)

    async def distrust_if_paused(self, server: Server) -> None:
        """Send it nothing if it does not go on: it may be another scheduler's."""
        before = server.state, server.version
        if server.control.locked() or await server.client.is_ready():
            return
        if (server.state, server.version) == before:
            await self.distrust(server, "it is paused, and not by this scheduler")

    async def _take_over(self, server: Server, *, met_already: bool = True) -> None:
        """A server that we meet for the first time may be paused or busy with another's requests."""
        async with server.control:
            if not met_already and server.answers:
                return
            server.version = 0
            server.breaks += 1
            # Another scheduler may be pushing weights to it: `continue` and aborts are for who owns the run.
            if server.share and not await self._left_running(server):
                return
            found = await self.fitness(server.client)
            server.unfit, server.instance, server.warnings = found.unfit, found.instance, found.warnings
            waits = "its weights are not confirmed" if server.share else _UNOWNED
            await self.set_state(server, ServerState.STALE, reason=found.unfit or waits)

    async def _left_running(self, server: Server) -> bool:
        """Abort what it has and tell it to continue; whether it took that."""
        await self.quietly(server.client.abort_all(), server)
        try:
            await server.client.resume()
        except InferenceError as error:
            await self.set_state(server, ServerState.DEAD if server.answers else server.state, reason=str(error))
            return False
        return True

    async def quietly(self, call: Awaitable[None], server: Server) -> None:
        """Make a call that may fail: it only saves the server work."""
        try:
            await call
        except InferenceError as error:
            log.info("abort_failed", url=server.url, reason=str(error))
