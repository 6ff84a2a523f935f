"""Faults as they strike.

Owns: what each kind of fault does to a cluster, and the count of those that struck. Never decides which or when.
Invariant: a fault that found nothing to strike is tried again for a while, and is counted only if it struck.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from redis.exceptions import RedisError

from tests.chaos.actor import Actor
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Fault, FaultKind, Target
from tests.chaos.proxy import Link

Thing = TypeVar("Thing")

_TRY_FOR_S = 30.0
_TRY_EVERY_S = 0.05
_REFUSALS = 3
"""Requests that one fault of the kinds 500 and 429 refuses."""
_FULL_FOR_S = 0.5
"""At least: a process has to try to write meanwhile."""


@dataclass(slots=True, kw_only=True)
class Strikes:
    """Carries a plan out."""

    cluster: Cluster
    say: Callable[[str], None]
    struck: Counter[FaultKind] = field(default_factory=Counter)
    missed: Counter[FaultKind] = field(default_factory=Counter)

    async def carry_out(self, plan: Iterable[Fault]) -> None:
        """Consumes: the plan. Produces: faults. Waits for: their times. Ends when the last has struck and worn off."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for fault in plan:
                await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                tasks.create_task(self._strike(fault))
        for link in self._links():
            link.heal()
        for actor in self._actors():
            await actor.settled()

    async def _strike(self, fault: Fault) -> None:
        until = time.monotonic() + _TRY_FOR_S
        while not await self._struck(fault):
            if time.monotonic() > until:
                self.missed[fault.kind] += 1
                return
            await asyncio.sleep(_TRY_EVERY_S)
        self.struck[fault.kind] += 1
        self.say(f"{fault.kind} ({fault.target})")

    def _struck(self, fault: Fault) -> Awaitable[bool]:
        match fault.kind:
            case FaultKind.LEASE_EXPIRED:
                return self._expire()
            case FaultKind.CONNECTION_RESET | FaultKind.SLOW_REPLY | FaultKind.TRUNCATED_REPLY:
                return self._on_link(fault)
            case FaultKind.STATUS_500 | FaultKind.STATUS_429:
                return self._on_link(fault)
            case _:
                return _done(self._on_process(fault))

    async def _expire(self) -> bool:
        try:
            return await self.cluster.expire_lease()
        except RedisError:
            return False

    def _on_process(self, fault: Fault) -> bool:
        actor = self._actor(fault)
        if actor is None:
            return False
        match fault.kind:
            case FaultKind.FREEZE:
                return actor.freeze(fault.lasts_s)
            case FaultKind.FULL_DISK:
                return actor.fill_disk(max(_FULL_FOR_S, fault.lasts_s / 2))
            case FaultKind.CLOCK_JUMP:
                return actor.jump(fault.jump_s)
            case FaultKind.REDIS_RESTART:
                return actor.stop()
            case _:
                return actor.kill()

    async def _on_link(self, fault: Fault) -> bool:
        """Order it, and see whether anything passes that it strikes."""
        link = self._link(fault)
        before = link.hits
        match fault.kind:
            case FaultKind.CONNECTION_RESET:
                link.reset_all()
            case FaultKind.SLOW_REPLY:
                link.slow_down(by_s=min(1.0, fault.lasts_s), for_s=fault.lasts_s)
            case FaultKind.TRUNCATED_REPLY:
                link.cut_next()
            case FaultKind.STATUS_500:
                link.refuse_next(500, _REFUSALS)
            case _:
                link.refuse_next(429, _REFUSALS)
        for _ in range(int(fault.lasts_s / _TRY_EVERY_S) + 1):
            if link.hits > before:
                return True
            await asyncio.sleep(_TRY_EVERY_S)
        # Withdrawn before it is ordered again: else a quiet link would have a hundred in store for whoever comes next.
        link.heal()
        return False

    def _actor(self, fault: Fault) -> Actor | None:
        match fault.target:
            case Target.SCHEDULER:
                return _one_of(self.cluster.schedulers, fault)
            case Target.LEARNER:
                return self.cluster.learner
            case Target.SERVER:
                return _one_of(self.cluster.servers, fault)
            case Target.REDIS:
                return self.cluster.redis

    def _link(self, fault: Fault) -> Link:
        match fault.target:
            case Target.REDIS:
                return _one_of(self.cluster.redis_links, fault)
            case Target.SERVER:
                return _one_of(self.cluster.server_links, fault)
            case _:
                return self.cluster.front

    def _links(self) -> Sequence[Link]:
        return [*self.cluster.redis_links, *self.cluster.server_links, self.cluster.front]

    def _actors(self) -> list[Actor]:
        actors = [*self.cluster.schedulers, *self.cluster.servers, self.cluster.redis]
        return actors if self.cluster.learner is None else [*actors, self.cluster.learner]


async def _done(struck: bool) -> bool:
    return struck


def _one_of(things: Sequence[Thing], fault: Fault) -> Thing:
    return things[int(fault.which * len(things))]
