"""Weight versions: every set of weights the learner published.

Owns: the record of each version and the intent of a push. Never calls a server. Invariant: a version number is given
out once, in the transaction that records it, and only grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from scheduler.core.errors import Conflict
from scheduler.core.spend import verdicts
from scheduler.core.types import Verdict
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.wire import raw, text


class WeightState(StrEnum):
    """Where a weight version stands."""

    ANNOUNCED = "announced"
    """The learner has published it; no server has been asked to load it."""
    PUSHING = "pushing"
    """Servers are being asked to load it: the intent, written before the first call."""
    LIVE = "live"
    """Confirmed on at least one server that serves the run."""
    SUPERSEDED = "superseded"
    """A newer version took its place, whether or not it was ever live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where a run's spend stands."""

    rollouts: int
    """Pilots and commits."""
    tokens: int
    """Generated tokens of them."""
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRecord:
    """One weight version."""

    version: int
    path: str
    """Folder of the checkpoint, as the learner names it."""
    digest: str
    """Digest of its manifest."""
    step: int
    announced_at: float
    state: WeightState = WeightState.ANNOUNCED
    checksum: str = ""
    """What the first server that loaded it answered to a checksum; the others have to answer the same."""
    live_at: float | None = None
    push_s: float | None = None
    spent_rollouts: int = 0
    """Pilots and commits of the run that were spent when it was announced."""
    spent_tokens: int = 0
    """Generated tokens of them."""
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    """Verdicts by then: from one version to another, what share of the prompts judged was not committed."""
    stats: Mapping[str, float] = field(default_factory=dict)
    """What the learner measured in its step, by name; empty for initial and restored weights. All are finite."""


def put_weights(transaction: Transaction, record: WeightRecord) -> None:
    """Record a new version: it must be the next one."""
    keys = transaction.keys
    stale = Conflict(f"weight version {record.version} is not the next one")
    # Before the first version the field is missing, which reads as empty.
    transaction.require_equal(keys.meta, "version", record.version - 1 or "", stale)
    transaction.run("HSET", keys.weights, record.version, msgspec.json.encode(record))
    transaction.run("HSET", keys.meta, "version", record.version)


class VersionStore:
    """Reads and writes the weight versions of one run."""

    def __init__(self, redis: "Redis", transactor: Transactor) -> None:
        self._redis = redis
        self._transactor = transactor
        self._keys: RunKeys = transactor.keys

    async def get(self, version: int) -> WeightRecord | None:
        """One version's record; None if it was never given out."""
        found = await self._redis.hget(self._keys.weights, str(version))
        return None if found is None else msgspec.json.decode(raw(found), type=WeightRecord)

    async def account(self) -> Account:
        """Where the run's spend stands now."""
        found = await self._redis.hgetall(self._keys.ledger)
        counters = {text(name): int(value) for name, value in found.items()}
        return Account(
            rollouts=counters.get("spent:rollouts", 0),
            tokens=counters.get("spent:tokens", 0),
            verdicts=verdicts(counters),
        )

    async def announce(self, record: WeightRecord) -> None:
        """Record initial or restored weights as the next version."""
        transaction = self._transactor.begin()
        put_weights(transaction, record)
        await self._transactor.apply(transaction)

    async def update(self, record: WeightRecord, *, live: bool = False) -> None:
        """Write a version's record; `live` makes it the version the fleet samples with."""
        transaction = self._transactor.begin()
        transaction.run("HSET", self._keys.weights, record.version, msgspec.json.encode(record))
        if live:
            transaction.run("HSET", self._keys.meta, "live_version", record.version)
        await self._transactor.apply(transaction)

    async def supersede(self, record: WeightRecord) -> None:
        """Mark a version as replaced by a newer one."""
        await self.update(replace(record, state=WeightState.SUPERSEDED))


async def recent_versions(
    redis: "Redis", keys: RunKeys, *, count: int, before: int | None = None
) -> list[WeightRecord]:
    """The newest `count` versions, newest first; with `before`, those older than it."""
    last = int(await redis.hget(keys.meta, "version") or 0)
    if before is not None:
        last = min(last, before - 1)
    wanted = [str(version) for version in range(last, max(0, last - count), -1)]
    if not wanted:
        return []
    found = await redis.hmget(keys.weights, wanted)
    return [msgspec.json.decode(raw(record), type=WeightRecord) for record in found if record is not None]
