"""One SGLang server as the scheduler knows it.

Owns: its state and counts. Never calls it. Invariant: what is in flight is counted by `took` and `gave_back` alone.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from inference.client import ServerClient
from scheduler.core.lifecycle import CONFIRMED, ServerState


@dataclass(slots=True, kw_only=True, eq=False)
class Server:
    """One server as the fleet knows it."""

    client: ServerClient
    capacity: int
    """Attempts in flight at most, now: its ceiling to begin with, then as its queue and KV cache allow."""
    state: ServerState = ServerState.STARTING
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
    ceiling: int = field(init=False)
    """The most that its capacity can be."""
    _stood_still_s: float = 0.0
    """Seconds for which it has not been confirmed, but for the present time."""
    _still_since: float | None = None
    """Since when it is not confirmed; None while it is."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is in flight."""

    def __post_init__(self) -> None:
        self.ceiling = self.capacity
        self._idle.set()

    @property
    def url(self) -> str:
        """Where it is."""
        return self.client.base_url

    @property
    def is_open(self) -> bool:
        """Whether one more attempt may be sent to it."""
        return self.state is ServerState.HEALTHY and self.in_flight < self.capacity

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

    async def idle(self, within_s: float) -> None:
        """Return once nothing is in flight, or after `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """What an operator sees of a server."""

    url: str
    state: ServerState
    version: int
    in_flight: int
    capacity: int
    reason: str
