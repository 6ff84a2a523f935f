"""Pools of prompts.

Owns: pools and their prompts, in order of arrival. Never touches a run. Invariant: a prompt id names one content for
ever; adding the same content again changes nothing, adding another content under it is refused.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, NotFound
from scheduler.core.types import Prompt
from scheduler.state.keys import POOLS, PoolKeys
from scheduler.state.wire import raw, text

_ADD = """
local answers = {}
for index = 1, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[index])
  if held == false then
    redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
    redis.call('ZADD', KEYS[2], redis.call('HINCRBY', KEYS[3], 'sequence', 1), ARGV[index])
    answers[#answers + 1] = 'added'
  elseif held == ARGV[index + 1] then
    answers[#answers + 1] = 'unchanged'
  else
    answers[#answers + 1] = 'conflict'
  end
end
return answers
"""

_LOOK, _LOOKS = 1000, 50
"""A hint looks at fifty thousand ids at most, a thousand at a time."""


class Added(StrEnum):
    """What became of one prompt that was added."""

    ADDED = "added"
    """It is new."""
    UNCHANGED = "unchanged"
    """The pool had it already, with the same content."""
    CONFLICT = "conflict"
    """The pool has another content under that id, which it keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """A pool without its prompts."""

    name: str
    tokenizer: str
    reward: str
    context_length: int
    max_prompt_tokens: int
    created_at: float


def _either_case(letter: str) -> str:
    """The glob of one letter, without regard to case."""
    return f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else f"\\{letter}"


class PoolStore:
    """Reads and writes pools."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._add = redis.register_script(_ADD)

    async def create(self, pool: PoolRecord) -> None:
        """Create a pool; raises Conflict if its name is taken by a different one."""
        keys = PoolKeys(pool.name)
        if not await self._redis.hsetnx(keys.meta, "record", msgspec.json.encode(pool).decode()):
            held = await self.get(pool.name)
            if replace(held, created_at=pool.created_at) != pool:
                raise Conflict(
                    f"pool {pool.name} exists with another tokenizer, reward or length of prompts: choose another name",
                    field="name",
                )
        await self._redis.sadd(POOLS, pool.name)

    async def get(self, name: str) -> PoolRecord:
        """The pool; raises NotFound."""
        record = await self._redis.hget(PoolKeys(name).meta, "record")
        if record is None:
            raise NotFound(f"there is no pool named {name}", field="pool")
        return msgspec.json.decode(raw(record), type=PoolRecord)

    async def names(self) -> list[str]:
        """Names of all pools, sorted."""
        return sorted(text(member) for member in await self._redis.smembers(POOLS))

    async def size(self, name: str) -> int:
        """Number of prompts."""
        return int(await self._redis.zcard(PoolKeys(name).order))

    async def add(self, name: str, prompts: Sequence[Prompt]) -> list[Added]:
        """Add prompts in order; the answers are in the same order."""
        keys = PoolKeys(name)
        arguments: list[str | bytes] = []
        for prompt in prompts:
            arguments += [prompt.prompt_id, msgspec.msgpack.encode(prompt)]
        answers = await self._add(keys=[keys.prompts, keys.order, keys.meta], args=arguments)
        return [Added(text(answer)) for answer in answers]

    async def has(self, name: str, prompt_id: str) -> bool:
        """Whether the pool has a prompt of this id."""
        return bool(await self._redis.hexists(PoolKeys(name).prompts, prompt_id))

    async def ids_like(self, name: str, prompt_id: str) -> list[str]:
        """Some ids that begin as this one does, for a hint: of a large pool not all are looked at."""
        half = "".join(_either_case(letter) for letter in prompt_id[: (len(prompt_id) + 1) // 2])
        found: list[str] = []
        cursor = 0
        for _ in range(_LOOKS):
            cursor, page = await self._redis.zscan(PoolKeys(name).order, cursor, match=f"{half}*", count=_LOOK)
            found += [text(member) for member, _ in page]
            if not cursor or len(found) >= _LOOK:
                break
        return found[:_LOOK]

    async def prompts(self, name: str, prompt_ids: Iterable[str]) -> list[Prompt]:
        """The prompts in the order asked; raises NotFound for the first that is not there."""
        wanted = list(prompt_ids)
        if not wanted:
            return []
        found = await self._redis.hmget(PoolKeys(name).prompts, wanted)
        for prompt_id, payload in zip(wanted, found, strict=True):
            if payload is None:
                raise NotFound(f"pool {name} has no prompt {prompt_id}", field="prompt")
        return [msgspec.msgpack.decode(raw(payload), type=Prompt) for payload in found if payload is not None]

    async def ids_after(self, name: str, sequence: int, *, page: int = 1000) -> AsyncIterator[list[tuple[str, int]]]:
        """Pages of (prompt id, sequence number) that arrived after `sequence`, in order."""
        while True:
            rows = await self._redis.zrangebyscore(
                PoolKeys(name).order, f"({sequence}", "+inf", start=0, num=page, withscores=True
            )
            if not rows:
                return
            found = [(text(row[0]), int(row[1])) for row in rows]
            sequence = found[-1][1]
            yield found
