"""The prompts of a run, from the pool or the pools that it is over.

Owns: finding a prompt by its name in the run. Never writes. Invariant: whatever it answers has the names that prompts
have in the run, so that nothing else needs to know whether pools are mixed.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from redis.asyncio import Redis

from scheduler.core.errors import NotFound
from scheduler.core.mixture import Mixture
from scheduler.core.types import Prompt
from scheduler.state.pools import PoolStore


class RunPools:
    """Reads the prompts of one run."""

    def __init__(self, redis: "Redis", mixture: Mixture) -> None:
        self.mixture = mixture
        self._pools = PoolStore(redis)

    async def prompts(self, names: Iterable[str]) -> list[Prompt]:
        """The prompts in the order asked; raises NotFound for the first that is not there."""
        wanted = list(names)
        if not self.mixture.is_mixed:
            return await self._pools.prompts(self.mixture.names[0], wanted)
        by_pool = defaultdict[str, dict[str, str]](dict)
        for name in wanted:
            pool, prompt_id = self.mixture.origin(name)
            by_pool[pool][prompt_id] = name
        found: dict[str, Prompt] = {}
        for pool, names_of in by_pool.items():
            for prompt in await self._pools.prompts(pool, names_of):
                name = names_of[prompt.prompt_id]
                found[name] = replace(prompt, prompt_id=name)
        return [found[name] for name in wanted]

    async def has(self, name: str) -> bool:
        """Whether the run has a prompt of this name."""
        try:
            return await self._pools.has(*self.mixture.origin(name))
        except NotFound:
            return False

    async def names_like(self, name: str) -> list[str]:
        """Some names that begin as this one does, for a hint."""
        found: list[str] = []
        for pool in self.mixture.names:
            own = name.removeprefix(f"{pool}:") if self.mixture.is_mixed else name
            found += [self.mixture.name_of(pool, like) for like in await self._pools.ids_like(pool, own)]
        return found

    async def page(self, pool: str, sequence: int, *, count: int) -> list[tuple[str, int]]:
        """At most `count` (name, sequence number) of one pool that arrived after `sequence`, in order."""
        empty: list[tuple[str, int]] = []
        found = await anext(self._pools.ids_after(pool, sequence, page=count), empty)
        return [(self.mixture.name_of(pool, prompt_id), number) for prompt_id, number in found]
