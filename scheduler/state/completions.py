"""The completions of visits that have ended, as text, for people who look and for exports: nothing decides by them.

Owns: which are kept, and how they are stored. Invariants: a visit's completions are written in the transaction that
ends it, and forgotten together; what they take is at most the limit, and what was written since the last trim.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence

import msgspec
from redis.asyncio import Redis

from scheduler.core.packed import unpack
from scheduler.core.types import Rollout
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.wire import raw, text

KEPT_BYTES = 64 << 20
_TRIMMED_AT_ONCE = 200
_SIZE = "bytes"
_FASTEST = 1
_LONG_BYTES = 1 << 15
"""Compressing fewer takes less than the way to a thread and back."""

Texts = Mapping[str, str]
"""The text of each rollout of a visit, by its rid."""


async def packed_completions(rollouts: Sequence[Rollout]) -> bytes:
    """Their texts as they are stored; empty without rollouts. Long ones are compressed beside the event loop."""
    if not rollouts:
        return b""
    texts = msgspec.msgpack.encode({rollout.rid: rollout.text for rollout in rollouts})
    if len(texts) < _LONG_BYTES:
        return zlib.compress(texts, _FASTEST)
    return await asyncio.to_thread(zlib.compress, texts, _FASTEST)


def put_completions(transaction: Transaction, visit_id: str, packed: bytes, *, at: float) -> None:
    """Keep the packed completions of a visit that ends at `at`; nothing is written if there are none."""
    if not packed:
        return
    keys = transaction.keys
    transaction.run("HSET", keys.completions, visit_id, packed)
    transaction.run("ZADD", keys.completed, at, visit_id)
    transaction.count_in(keys.completions_size, _SIZE, len(packed))


class CompletionStore:
    """Reads and trims the completions of one run."""

    def __init__(self, redis: "Redis", keys: RunKeys, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._redis = redis
        self._keys = keys
        self._kept_bytes = kept_bytes

    async def many(self, visit_ids: Sequence[str]) -> dict[str, Texts]:
        """Completions by visit id: of open visits as far as they came back, of ended ones as far as they are kept."""
        if not visit_ids:
            return {}
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.completions, list(visit_ids))
            pipe.hmget(self._keys.rollouts, list(visit_ids))
            kept, held = await pipe.execute()
        found: dict[str, Texts] = {}
        for visit_id, packed, rollouts in zip(visit_ids, kept, held, strict=True):
            if packed is not None:
                found[visit_id] = msgspec.msgpack.decode(zlib.decompress(raw(packed)), type=dict[str, str])
            elif rollouts is not None:
                back = unpack(raw(rollouts), tuple[Rollout, ...])
                found[visit_id] = {rollout.rid: rollout.text for rollout in back}
        return found

    async def size(self) -> int:
        """Bytes that the completions of ended visits take."""
        return int(await self._redis.hget(self._keys.completions_size, _SIZE) or 0)

    async def trim(self, transactor: Transactor) -> int:
        """Forget those of the visits that ended first beyond the limit, of two hundred at most; returns of how many."""
        excess = await self.size() - self._kept_bytes
        if excess <= 0:
            return 0
        oldest = [text(member) for member in await self._redis.zrange(self._keys.completed, 0, _TRIMMED_AT_ONCE - 1)]
        async with self._redis.pipeline(transaction=False) as pipe:
            for visit_id in oldest:
                pipe.hstrlen(self._keys.completions, visit_id)
            sizes = await pipe.execute()
        freed, forgotten = 0, 0
        while freed < excess and forgotten < len(oldest):
            freed += sizes[forgotten]
            forgotten += 1
        transaction = transactor.begin()
        transaction.run("HDEL", self._keys.completions, *oldest[:forgotten])
        transaction.run("ZREM", self._keys.completed, *oldest[:forgotten])
        transaction.count_in(self._keys.completions_size, _SIZE, -freed)
        await transactor.apply(transaction)
        return forgotten
