"""How the fake server takes weights from a learner that broadcasts them.

Owns: `Air`, where learners and fake servers of one test find each other; `Leader`, a scripted learner in it; and
`WeightGroups`, a server's groups and its open session. Never opens a socket. Invariant: as on the real server, whoever
joins where nobody listens waits on, and whoever waits in a group is freed when its learner closes it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scheduler.core.broadcast import BroadcastOrder, Bucket

Taken = tuple[Bucket, bytes]


@dataclass(slots=True, eq=False)
class Group:
    """One process group."""

    world_size: int
    closed: bool = False
    joined: int = 1
    """Ranks, the learner's included."""
    lost: bool = False
    """One of its servers has died."""
    sent: list[bytes] = field(default_factory=list)
    num_taken: int = 0
    """How often any rank took a bucket."""


class Air:
    """Groups by name, and who listens where."""

    def __init__(self) -> None:
        self.listening: set[tuple[str, int]] = set()
        self.groups: dict[tuple[str, int, str], Group] = {}
        self._watchers: list[Callable[[], None]] = []
        self._changed = asyncio.Event()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called at every change."""
        self._watchers.append(watcher)

    def tell(self) -> None:
        """Something has changed."""
        self._changed.set()
        self._changed = asyncio.Event()
        for watcher in self._watchers:
            watcher()

    async def until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until `condition` holds; raises RuntimeError after `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise RuntimeError(f"nobody came within {within_s:g} s") from None


class Leader:
    """A learner that listens; it closes what it opened."""

    def __init__(self, air: Air, address: str = "127.0.0.1", port: int = 29600) -> None:
        self._air = air
        self._place = address, port
        self._group: Group | None = None
        air.listening.add(self._place)
        air.tell()

    async def lead(self, order: BroadcastOrder, buckets: Sequence[bytes]) -> None:
        """Broadcast to everybody in the group; raises RuntimeError when that takes too long or a server is lost."""
        group = self._group = self._air.groups.setdefault((*self._place, order.group), Group(order.world_size))
        await self._air.until(lambda: group.joined == order.world_size or group.lost, order.join_s)
        for number, bucket in enumerate(buckets, start=1):
            if group.lost or group.closed:
                raise RuntimeError("Connection closed by peer")
            group.sent.append(bytes(bucket))
            self._air.tell()
            wanted = number * (order.world_size - 1)
            await self._air.until(lambda wanted=wanted: group.num_taken >= wanted or group.lost, order.step_s)  # type: ignore[misc]

    def close(self) -> None:
        """Listen no more, and free whoever waits."""
        self._air.listening.discard(self._place)
        for group in [self._air.groups[key] for key in self._air.groups if key[:2] == self._place]:
            group.closed = True
        self._air.groups = {key: group for key, group in self._air.groups.items() if key[:2] != self._place}
        self._air.tell()


class WeightGroups:
    """The groups that one life of a server is in."""

    def __init__(self, air: Air, num_ranks: int) -> None:
        self.air = air
        self.num_ranks = num_ranks
        self.session: list[Taken] | None = None
        """What was taken since `begin`."""
        self.groups: dict[str, Group] = {}
        self.waiting = False
        """The server waits for a learner, or for others that it told to join."""
        self._num_received: dict[str, int] = {}

    def find(self, address: str, port: int, name: str, world_size: int) -> Group | None:
        """The group to join, if its learner listens."""
        if (address, port) not in self.air.listening:
            return None
        return self.air.groups.setdefault((address, port, name), Group(world_size))

    def enter(self, name: str, group: Group) -> None:
        """It is in a group."""
        group.joined += self.num_ranks
        self.groups[name], self._num_received[name] = group, 0
        self.air.tell()

    def has_next(self, name: str) -> bool:
        """Whether there is a bucket to take."""
        return len(self.groups[name].sent) > self._num_received[name]

    def take(self, name: str, bucket: Bucket) -> list[Taken]:
        """Take the next bucket; everything of the session so far."""
        group, session = self.groups[name], self.session
        assert session is not None
        session.append((bucket, group.sent[self._num_received[name]]))
        self._num_received[name] += 1
        group.num_taken += self.num_ranks
        self.air.tell()
        return session

    def die(self) -> None:
        """Its peers see their connections break."""
        for group in self.groups.values():
            group.lost = True
        self.air.tell()
