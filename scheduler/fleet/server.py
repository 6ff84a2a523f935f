"""One SGLang server as the scheduler knows it.

Owns: its state and counts. Never calls it. Invariant: what is in flight is counted by `took` and `gave_back` alone.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference.client import ServerClient
from scheduler.core.addresses import server_id
from scheduler.core.errors import ServerUnavailable
from scheduler.core.labels import Labels
from scheduler.core.lifecycle import CONFIRMED, ServerState, Standing, takes_attempts
from scheduler.fleet.traits import PLAIN, Traits

if TYPE_CHECKING:
    from scheduler.fleet.share import Share


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Server:
    """One server as the fleet knows it."""

    client: ServerClient
    capacity: int
    """Attempts in flight at most, now: its ceiling to begin with, then as its queue and KV cache allow."""
    state: ServerState = ServerState.STARTING
    standing: Standing = Standing.SERVING
    traits: Traits = PLAIN
    """What operators say of it."""
    share: "Share | None" = None
    """Of the run that owns it, or is just taking it over; None while no run does."""
    unfit: str = ""
    """Why it cannot serve this fleet, whatever weights it is given; empty if it can."""
    warnings: tuple[str, ...] = ()
    """What is not as it should be, and keeps it from nothing."""
    instance: str = ""
    """Tells its process from every other, under whatever address; empty where it does not say."""
    version: int = 0
    """The weight version confirmed last; 0 before any."""
    breaks: int = 0
    """Grows when its weights can no longer be vouched for: what was in flight then is lost, whatever comes back."""
    deaths: int = 0
    """How often it has stopped answering."""
    in_flight: int = 0
    reason: str = "not asked yet"
    failed_probes: int = 0
    losses: int = 0
    """Attempts lost in a row."""
    was_crowded: bool = False
    """Whether more waited there than it needs, at the last look."""
    control: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One control operation at a time."""
    is_cut: bool = False
    """What was in flight on it is lost by order: that says nothing against it."""
    ceiling: int = field(init=False)
    """The most that its capacity can be."""
    _stood_still_s: float = 0.0
    """Seconds for which it has not been confirmed, but for the present time."""
    _still_since: float | None = None
    """Since when it is not confirmed; None while it is."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is in flight."""
    _calls: set[asyncio.Timeout] = field(default_factory=set)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.ceiling = self.capacity
        self._idle.set()

    @property
    def url(self) -> str:
        """Where it is."""
        return self.client.base_url

    @property
    def run_id(self) -> str:
        """The run that owns it; empty while none does."""
        return self.share.run_id if self.share is not None else ""

    @property
    def is_open(self) -> bool:
        """Whether one more attempt may be sent to it."""
        return self.takes_attempts and self.in_flight < self.capacity

    @property
    def takes_attempts(self) -> bool:
        """Whether attempts may be sent to it, room or not."""
        return takes_attempts(self.state, self.standing)

    @property
    def takes_weights(self) -> bool:
        """Whether it is to be kept at the weights that the run wants."""
        return self.standing is Standing.SERVING and not self.unfit

    @property
    def is_confirmed(self) -> bool:
        """Whether what it samples is of a known version."""
        return self.state in CONFIRMED

    @property
    def answers(self) -> bool:
        """Whether it answered when last asked, or may be taken to."""
        return self.state not in (ServerState.STARTING, ServerState.DEAD)

    @property
    def load(self) -> float:
        """Share of its capacity in flight."""
        return self.in_flight / self.capacity

    def enter(self, state: ServerState, now: float) -> None:
        """Take a state; whether it is a legal one to go to is for the fleet to say."""
        self.state = state
        if self.is_confirmed and self._still_since is not None:
            self._stood_still_s, self._still_since = self.stood_still_s(now), None
        elif not self.is_confirmed and self._still_since is None:
            self._still_since = now

    def stood_still_s(self, now: float) -> float:
        """Seconds, in all, in which it was being given weights or could not be trusted: nothing got on there."""
        return self._stood_still_s + (0.0 if self._still_since is None else now - self._still_since)

    def took(self) -> None:
        """One more attempt is in flight."""
        self.in_flight += 1
        self._idle.clear()

    def gave_back(self) -> None:
        """One attempt has ended."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """For as long as an attempt waits for this server; raises ServerUnavailable in its place once it is cut."""
        try:
            async with asyncio.timeout(None) as call:
                self._calls.add(call)
                try:
                    yield
                finally:
                    self._calls.discard(call)
        except TimeoutError as exc:
            # Nothing else in here raises it: a call's own deadline is a ServerUnavailable by now.
            raise ServerUnavailable(f"{self.url} was taken out of the fleet") from exc

    def cut(self) -> None:
        """Give up what is in flight: it is not waited for, and not believed if it has come back."""
        self.is_cut = True
        self.breaks += 1
        now = asyncio.get_running_loop().time()
        for call in self._calls:
            call.reschedule(now)

    def stand(self, standing: Standing) -> None:
        """Take another place in the fleet; the caller has looked whether it may."""
        self.standing = standing
        if standing is Standing.LEAVING:
            self._leaving.set()
        else:
            self._leaving.clear()
            self.is_cut = False

    async def departure(self) -> None:
        """Return once it is leaving and nothing is in flight."""
        while not (self.standing is Standing.LEAVING and not self.in_flight):
            await self._leaving.wait()
            await self.idle(None)

    async def idle(self, within_s: float | None) -> None:
        """Return once nothing is in flight, or after `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """What an operator sees of a server."""

    server_id: str
    url: str
    standing: Standing
    state: ServerState
    version: int
    in_flight: int
    capacity: int
    reason: str
    labels: Labels
    run: str
    """The run that owns it; empty while none does."""
    warnings: Sequence[str]

    @classmethod
    def of(cls, server: Server) -> "ServerView":
        """The server as it is now; what it cannot help outweighs what it is doing."""
        return cls(
            server_id=server_id(server.url),
            url=server.url,
            standing=server.standing,
            state=server.state,
            version=server.version,
            in_flight=server.in_flight,
            capacity=server.capacity,
            reason=server.unfit or server.reason,
            labels=server.traits.labels,
            run=server.run_id,
            warnings=server.warnings,
        )
