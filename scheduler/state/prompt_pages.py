"""A run's prompts a page at a time, for people who look through them.

Owns: which prompts are on a page. Never changes anything. Invariant: a page costs a bounded look, however large the
pool: a filter that matches little gives a short page, and says where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from scheduler.core.lifecycle import PromptState
from scheduler.core.run import RunConfig
from scheduler.core.types import Verdict
from scheduler.state.keys import PoolKeys, RunKeys
from scheduler.state.row import Row
from scheduler.state.table import Table, claimed_prompts
from scheduler.state.wire import text

_LOOK = 200
_MOST_LOOKED_AT = 4000
"""Prompts that one page looks at; a tenth of a second."""
_SAMPLE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which prompts are wanted; what is left out does not matter."""

    state: PromptState | None = None
    verdict: Verdict | None = None
    """Of their last visit."""
    like: str = ""
    """A part of their id, in either case."""

    def takes(self, prompt_id: str, row: Row | None) -> bool:
        """Whether a prompt of that state is wanted."""
        if self.like.lower() not in prompt_id.lower():
            return False
        return self.verdict is None or (row is not None and row.evidence.last_verdict is self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLine:
    """One prompt of a page."""

    prompt_id: str
    state: PromptState
    row: Row | None
    """None before its first visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPageOf:
    """Some prompts."""

    lines: tuple[PromptLine, ...]
    next_offset: int | None
    """Where the next page begins; None after the last."""


class PromptPages:
    """Reads pages of one run's prompts, and a sample of its table."""

    def __init__(self, redis: "Redis", keys: RunKeys, config: RunConfig) -> None:
        self._redis = redis
        self._keys = keys
        self._table = Table.of(redis, keys, config)
        self._mixture = config.mixture

    async def page(self, wanted: Filter, *, count: int, offset: int) -> PromptPageOf:
        """`count` prompts at most: in their order of claims or returns where a state is named, else of arrival.

        A run goes on meanwhile, so a prompt that moves may be missed, or be on two pages.
        """
        lines: list[PromptLine] = []
        place = offset
        while place < offset + _MOST_LOOKED_AT:
            looked_at = await self._lines(wanted.state, place, _LOOK)
            for line in looked_at:
                place += 1
                if wanted.takes(line.prompt_id, line.row):
                    lines.append(line)
                    if len(lines) == count:
                        return PromptPageOf(lines=tuple(lines), next_offset=place)
            if len(looked_at) < _LOOK:
                return PromptPageOf(lines=tuple(lines), next_offset=None)
        return PromptPageOf(lines=tuple(lines), next_offset=place)

    async def sample(self) -> tuple[Sequence[Row], int]:
        """Rows of the table, all of them or two thousand by chance, and how many there are."""
        return await self._table.some_rows(_SAMPLE)

    async def _lines(self, state: PromptState | None, offset: int, count: int) -> list[PromptLine]:
        prompt_ids = await self._ids(state, offset, count)
        rows = await self._table.rows(prompt_ids)
        states = await self._table.states(prompt_ids) if state is None else [state] * len(prompt_ids)
        return [
            PromptLine(prompt_id=prompt_id, state=found, row=rows.get(prompt_id))
            for prompt_id, found in zip(prompt_ids, states, strict=True)
        ]

    async def _ids(self, state: PromptState | None, offset: int, count: int) -> list[str]:
        if state is PromptState.CLAIMED:
            return sorted(await claimed_prompts(self._redis, self._keys))[offset : offset + count]
        if state is PromptState.READY:
            return await self._one_after_the_other(
                [(self._table.ready(pool), "") for pool in self._mixture.names], offset, count
            )
        if state is None:
            orders = [(PoolKeys(pool).order, pool) for pool in self._mixture.names]
            return await self._one_after_the_other(orders, offset, count)
        key = self._keys.waiting if state is PromptState.WAITING else self._keys.quarantined
        return await self._members(key, offset, count)

    async def _one_after_the_other(self, places: Sequence[tuple[str, str]], offset: int, count: int) -> list[str]:
        """Members of sorted sets as if they were one; those of a pool, where one is named, as the run calls them."""
        found: list[str] = []
        for key, pool in places:
            members = await self._members(key, offset, count - len(found))
            found += [self._mixture.name_of(pool, member) for member in members] if pool else members
            if len(found) == count:
                break
            offset = max(0, offset - await self._redis.zcard(key)) if not members else 0
        return found

    async def _members(self, key: str, offset: int, count: int) -> list[str]:
        return [text(member) for member in await self._redis.zrange(key, offset, offset + count - 1)]
