"""What can be made to go wrong between a client and the fake server.

Owns: the faults a test has ordered, by route. Never touches the server's state: a fault is what the network or a dying
process does to a call. Invariant: a fault strikes exactly as many calls as were ordered, in order.
"""

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FailWith:
    """The call is answered with this status and does nothing."""

    status: int = 500
    message: str = "Internal Server Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The connection breaks, before the call did anything or only before its answer came back."""

    after_acting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """The call waits for `Faults.release` before it does anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mislabel:
    """A generate answers as if its tokens came from the weights of this label."""

    label: str


Fault = FailWith | Drop | Hang | Mislabel


class Faults:
    """The faults still to strike."""

    def __init__(self) -> None:
        self._ordered: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._released = asyncio.Event()

    def order(self, path: str, fault: Fault, *, count: int = 1) -> None:
        """Let `fault` strike the next `count` calls of `path` (after those ordered before)."""
        self._ordered[path].extend([fault] * count)

    def take(self, path: str) -> Fault | None:
        """The fault that strikes this call of `path`, if any; it will not strike again."""
        waiting = self._ordered[path]
        return waiting.popleft() if waiting else None

    async def hang(self) -> None:
        """Wait for `release`."""
        await self._released.wait()

    def release(self) -> None:
        """Let every hanging call go on; calls that hang later wait for the next release."""
        self._released.set()
        self._released = asyncio.Event()
