"""One SGLang server as the scheduler knows it.

Owns: its state and counts. Never calls it. Invariant: what is in flight is counted by `took` and `gave_back` alone.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from inference.client import ServerClient


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

    @property
    def load(self) -> float:
        """Share of its capacity in flight."""
        return self.in_flight / self.capacity

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
class ServerView:
    """What an operator sees of a server."""

    url: str
    state: ServerState
    version: int
    in_flight: int
    capacity: int
    reason: str
