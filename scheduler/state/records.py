"""Records of recent visits: every attempt with its server, versions and reward, and how the visit ended.

Owns: the records, kept for explanations alone: nothing decides by them. Invariants: a record changes in the transaction
that changes its visit or its group; of visits that have ended, the newest `RECORDS_KEPT` are kept, and so many more as
have ended since the last trim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.types import FinishReason, Rollout, Stage
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.wire import raw, text

RECORDS_KEPT = 10_000
_TRIMMED_AT_ONCE = 1000
_REASON_CHARS = 300


class Attempt(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of one attempt of a visit; without field names on the wire, as there are so many."""

    rid: str
    stage: Stage
    status: str = OpenState.IN_FLIGHT
    """An open state or an outcome, of the attempt alone: one held shares the fate of its visit, then of its group."""
    server: str = ""
    """Empty while it is in flight, and where the scheduler that sent it is gone."""
    oldest_version: int | None = None
    """None without a completion."""
    newest_version: int | None = None
    tokens: int = 0
    reward: float | None = None
    correct: bool | None = None
    finish_reason: FinishReason | None = None
    reason: str = ""
    """Why it has no reward."""

    @classmethod
    def rewarded(cls, rollout: Rollout, server: str) -> "Attempt":
        """One that came back as a rollout."""
        return cls(
            rid=rollout.rid,
            stage=rollout.stage,
            status=OpenState.HELD,
            server=server,
            oldest_version=rollout.oldest_version,
            newest_version=rollout.spans[-1].version,
            tokens=len(rollout.token_ids),
            reward=rollout.reward,
            correct=rollout.correct,
            finish_reason=rollout.finish_reason,
        )

    @classmethod
    def fruitless(cls, rid: str, stage: Stage, outcome: Outcome, server: str, reason: str) -> "Attempt":
        """One that came to nothing."""
        return cls(rid=rid, stage=stage, status=outcome, server=server, reason=reason[:_REASON_CHARS])


class Ending(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How a visit, or the group it became, ended."""

    at: float
    version: int
    what: str
    """As in the prompt's history."""
    reason: str = ""
    step: int | None = None
    outcome: str | None = None
    """An open state or an outcome: of the rollouts that were held."""


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One visit."""

    visit_id: str
    prompt_id: str
    attempts: tuple[Attempt, ...] = ()
    ending: Ending | None = None
    """None while the visit is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A visit's record with the end of its group."""

    record: Record
    group_ending: Ending | None = None
    """None while the group is open, and for a visit that became none."""


def closed(attempts: Iterable[Attempt], outcome: Outcome, reason: str) -> tuple[Attempt, ...]:
    """The attempts with those that were in flight ended: nobody waits for them any more."""
    return tuple(
        Attempt.fruitless(attempt.rid, attempt.stage, outcome, attempt.server, reason)
        if attempt.status == OpenState.IN_FLIGHT
        else attempt
        for attempt in attempts
    )


def put_record(transaction: Transaction, record: Record) -> None:
    """Write a visit's record; once it has ended it is counted among those to be trimmed."""
    keys = transaction.keys
    transaction.run("HSET", keys.records, record.visit_id, msgspec.msgpack.encode(record))
    if record.ending is not None:
        transaction.run("ZADD", keys.recorded, record.ending.at, record.visit_id)


def put_group_ending(transaction: Transaction, group_id: str, ending: Ending) -> None:
    """Write what became of a group; its visit counts as ended now, so that both are trimmed together."""
    keys = transaction.keys
    transaction.run("HSET", keys.group_endings, group_id, msgspec.msgpack.encode(ending))
    transaction.run("ZADD", keys.recorded, ending.at, group_id)


class RecordStore:
    """Reads and trims the records of one run."""

    def __init__(self, redis: "Redis", keys: RunKeys, *, kept: int = RECORDS_KEPT) -> None:
        self._redis = redis
        self._keys = keys
        self._kept = kept

    async def get(self, visit_id: str) -> Recorded | None:
        """A visit's record; None for one never heard of, or trimmed."""
        return (await self.many([visit_id])).get(visit_id)

    async def many(self, visit_ids: Sequence[str]) -> dict[str, Recorded]:
        """Records by visit id, as far as they are kept."""
        if not visit_ids:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys.records, list(visit_ids))
            pipe.hmget(self._keys.group_endings, list(visit_ids))
            records, endings = await pipe.execute()
        return {
            visit_id: Recorded(
                record=msgspec.msgpack.decode(raw(record), type=Record),
                group_ending=None if ending is None else msgspec.msgpack.decode(raw(ending), type=Ending),
            )
            for visit_id, record, ending in zip(visit_ids, records, endings, strict=True)
            if record is not None
        }

    async def ids(self) -> list[str]:
        """Ids of every visit that is recorded, open ones included, in order: some ten thousand."""
        return sorted(text(visit_id) for visit_id in await self._redis.hkeys(self._keys.records))

    async def trim(self, transactor: Transactor) -> int:
        """Forget the oldest records beyond those kept, a thousand at most; returns how many."""
        excess = min(await self._redis.zcard(self._keys.recorded) - self._kept, _TRIMMED_AT_ONCE)
        if excess <= 0:
            return 0
        oldest = [text(member) for member in await self._redis.zrange(self._keys.recorded, 0, excess - 1)]
        transaction = transactor.begin()
        transaction.run("ZREM", self._keys.recorded, *oldest)
        for key in (self._keys.records, self._keys.group_endings):
            transaction.run("HDEL", key, *oldest)
        await transactor.apply(transaction)
        return len(oldest)
