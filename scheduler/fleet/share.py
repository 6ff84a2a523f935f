"""The servers of the fleet that one run owns.

Owns: which servers those are, and what is sent to them. Never pushes weights and never retries an attempt. Invariants:
a server is in the share of one run at a time; an attempt only goes to a HEALTHY server of its run's share that serves.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import structlog

from inference.protocol import Score
from scheduler.core.errors import Aborted, ForeignWeights, InferenceError
from scheduler.core.labels import Labels, has
from scheduler.core.lifecycle import ServerState, Standing
from scheduler.core.types import Completion, Stage
from scheduler.fleet.dispatcher import Dispatch, Dispatcher
from scheduler.fleet.members import Members
from scheduler.fleet.server import Server, ServerView

if TYPE_CHECKING:
    from scheduler.fleet.fleet import Fleet

log = structlog.get_logger(__name__)

_TRIES_TO_CONTINUE = 3
_LOSSES_BEFORE_STALE = 8
"""A server that answers every attempt with an error answers fast, so it would draw ever more of them."""


class Share:
    """Dispatches a run's attempts to its servers."""

    def __init__(self, fleet: "Fleet", *, run_id: str, wanted: Labels) -> None:
        """`wanted`: the labels of the servers that the run may own. The fleet makes it, and says what is in it."""
        self.run_id = run_id
        self.wanted = wanted
        self._fleet = fleet
        self._members = Members(())
        self.servers = self._members.servers
        """In the order in which they came; changed in place."""
        self._dispatcher = Dispatcher(self.servers)

    # Which servers.

    def wants(self, server: Server) -> bool:
        """Whether it is one that the run may own."""
        return has(server.traits.labels, self.wanted) and server.standing is not Standing.GONE

    async def take_over(self) -> None:
        """Make its own the servers that are reserved for it; what an earlier owner left there is aborted."""
        reserved = [server for server in self._fleet.servers if server.share is self and server not in self.servers]
        await asyncio.gather(*(self._fleet.take_over(server) for server in reserved))

    def admit(self, server: Server) -> None:
        """One more server, which the fleet has reserved for it; that it has it already changes nothing."""
        if server not in self.servers:
            self._members.admit(server)
            self.dispatch()

    async def dismiss(self, server: Server) -> None:
        """One server fewer: the run's loops that look after it have ended when this returns."""
        if server in self.servers:
            await self._members.dismiss(server)

    def close(self) -> None:
        """It has no servers any more; its loops have ended by now."""
        self.servers.clear()

    async def attend(self, look_after: Callable[[Server], Coroutine[None, None, None]], *, name: str) -> None:
        """Run a loop for every server, for as long as it is of the share; raises what a loop raises."""
        await self._members.attend(look_after, name=name)

    def num_healthy(self) -> int:
        """Servers that take requests."""
        return sum(server.takes_attempts for server in self.servers)

    def view(self) -> list[ServerView]:
        """Every server of it."""
        return [ServerView.of(server) for server in self.servers]

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
            await self._fleet.distrust(server, reason)
            return f"{server.url}: {reason}"

        def is_settled() -> bool:
            return server.version >= newest or server.breaks != dispatch.breaks

        if not is_settled():
            try:
                await self._fleet.until(is_settled, timeout_s=timeout_s)
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
            await self._fleet.probe(server)
        if server.deaths > dispatch.deaths:
            # It may be back already.
            return True
        if isinstance(error, ForeignWeights):
            await self._fleet.distrust(server, str(error))
        elif server.losses >= _LOSSES_BEFORE_STALE:
            await self._fleet.distrust(server, f"{server.losses} attempts in a row were lost, the last one: {error}")
        else:
            await self._fleet.distrust_if_paused(server)
        await self._fleet.quietly(server.client.abort(rid), server)
        return False

    async def recall(self, dispatch: Dispatch, rid: str) -> None:
        """Abort an attempt that nobody wants any more; its server is not to blame."""
        await self._fleet.quietly(dispatch.server.client.abort(rid), dispatch.server)

    async def abort_all(self) -> None:
        """Abort whatever is in flight on every server that answers."""
        known = [server for server in self.servers if server.answers]
        await asyncio.gather(*(self._fleet.quietly(server.client.abort_all(), server) for server in known))

    async def continue_all(self) -> None:
        """Leave no server paused, whatever the run's last push came to; one that is away is for its next owner."""
        await asyncio.gather(*(self._continue(server) for server in self.servers if server.answers))

    async def _continue(self, server: Server) -> None:
        for _ in range(_TRIES_TO_CONTINUE):
            try:
                return await server.client.resume()
            except InferenceError as error:
                log.info("continue_failed", url=server.url, reason=str(error))

    # States.

    async def set_state(
        self, server: Server, state: ServerState, *, reason: str = "", version: int | None = None
    ) -> None:
        """Change a server's state; `version` is one that was just confirmed. Raises IllegalMove."""
        await self._fleet.set_state(server, state, reason=reason, version=version)

    def note_state(self, server: Server, state: ServerState, *, reason: str = "", version: int | None = None) -> None:
        """The same without telling those who wait for news: where a cancelled caller must not wait."""
        self._fleet.note_state(server, state, reason=reason, version=version)

    async def news(self) -> None:
        """Return at the next change of any server's state or capacity, another run's included."""
        await self._fleet.news()


def _was_ordered(dispatch: Dispatch, error: InferenceError) -> bool:
    """Whether an attempt was lost by our own doing: aborted for new weights, or with a server that was taken out."""
    server = dispatch.server
    updated = server.state is ServerState.UPDATING or server.version != dispatch.version
    return server.is_cut or (isinstance(error, Aborted) and updated)
