"""The group stream: completed groups on their way through the learner.

Owns: which groups are published, batched, applied and trained, and their payloads. Never composes a batch.
Invariants: a group is in at most one batch; it is delivered again only to a new learner incarnation; its payload is
kept until the step that trained it is saved.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from scheduler.core.course import CourseEvent, Turn
from scheduler.core.errors import Conflict, StaleIncarnation
from scheduler.core.ledger import Move, OpenState, Outcome
from scheduler.core.types import Stage
from scheduler.state.course import remember
from scheduler.state.keys import RunKeys
from scheduler.state.records import Ending, put_group_ending
from scheduler.state.row import Event
from scheduler.state.table import Table
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.versions import WeightRecord, put_weights
from scheduler.state.wire import raw


class GroupStatus(StrEnum):
    """Where an open group stands."""

    PUBLISHED = "published"
    """The learner has not stepped on it; it may be in a batch."""
    APPLIED = "applied"
    """The learner has stepped on it and not saved that step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEntry:
    """An open group without its payload."""

    group_id: str
    prompt_id: str
    order: int
    """Order of publication."""
    oldest_version: int
    success_rate: float
    reward_std: float
    counts: Mapping[Stage, int]
    status: GroupStatus = GroupStatus.PUBLISHED
    step: int | None = None
    """The step of its batch; None while it is in none."""

    @property
    def num_rollouts(self) -> int:
        """Pilots and commits."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What a new learner incarnation means for the open groups."""

    incarnation: str
    step: int
    """The step the learner resumed from."""
    trained: Collection[str] = ()
    """Groups that are in the learner's checkpoint and not yet known to be."""
    redelivered: Collection[str] = ()
    """Applied by a lost step, still fresh: delivered again."""
    rolled_back: Collection[str] = ()
    """Applied by a lost step, too stale by now."""
    expired: Collection[str] = field(default=())
    """Refused by the learner in a step that its checkpoint holds but that it never reported."""


class GroupStore:
    """Reads and writes the open groups of one run under its lease."""

    def __init__(self, redis: "Redis", transactor: Transactor, table: Table) -> None:
        self._redis = redis
        self._transactor = transactor
        self._keys: RunKeys = transactor.keys
        self._table = table

    async def entries(self) -> list[GroupEntry]:
        """Every open group, in order of publication; bounded by the staleness limit."""
        found = await self._redis.hvals(self._keys.index)
        entries = [msgspec.json.decode(raw(entry), type=GroupEntry) for entry in found]
        return sorted(entries, key=lambda entry: entry.order)

    async def packed(self, group_id: str) -> bytes | None:
        """A group's payload as it is stored, msgpack of a Group; None if it is no longer open."""
        found = await self._redis.hget(self._keys.groups, group_id)
        return None if found is None else raw(found)

    async def form_batch(self, step: int, entries: Iterable[GroupEntry]) -> list[GroupEntry]:
        """Put groups into the batch of a step."""
        entries = list(entries)
        batched = [replace(entry, step=step) for entry in entries]
        transaction = self._transactor.begin()
        self._require(transaction, entries)
        self._put(transaction, batched)
        await self._transactor.apply(transaction)
        return batched

    async def drop(self, entries: Iterable[GroupEntry], outcome: Outcome, *, now: float, version: int) -> None:
        """End published groups untrained: expired, surplus or cancelled."""
        entries = list(entries)
        transaction = self._transactor.begin()
        self._require(transaction, entries)
        for entry in entries:
            self._end(transaction, entry, outcome, Event(at=now, version=version, what=outcome.value))
        await self._transactor.apply(transaction)

    async def applied(
        self,
        entries: Iterable[GroupEntry],
        refused: Mapping[str, int],
        *,
        incarnation: str,
        step: int,
        weights: WeightRecord,
        now: float,
    ) -> list[GroupEntry]:
        """The learner has stepped: its groups are applied, those it refused expire, its weights are a new version."""
        entries = list(entries)
        transaction = self._transactor.begin()
        self._require_incarnation(transaction, incarnation)
        self._require(transaction, entries)
        stepped = []
        for entry in entries:
            if entry.group_id in refused:
                reason = f"refused by the learner: {refused[entry.group_id]} versions stale"
                event = Event(at=now, version=weights.version, what="expired", reason=reason, step=step)
                self._end(transaction, entry, Outcome.EXPIRED, event)
            else:
                stepped.append(replace(entry, status=GroupStatus.APPLIED, step=step))
                transaction.move(*_moves(entry, OpenState.PUBLISHED, OpenState.APPLIED))
        self._put(transaction, stepped)
        transaction.run("HSET", self._keys.meta, "step", step)
        put_weights(transaction, weights)
        await self._transactor.apply(transaction)
        return stepped

    async def checkpointed(self, entries: Iterable[GroupEntry], *, incarnation: str, step: int, now: float) -> None:
        """The learner has saved `step`: its groups are trained and their payloads trimmed."""
        entries = list(entries)
        transaction = self._transactor.begin()
        self._require_incarnation(transaction, incarnation)
        self._require(transaction, entries)
        self._train(transaction, entries, now)
        transaction.run("HSET", self._keys.meta, "checkpointed_step", step)
        await self._transactor.apply(transaction)

    async def attach(
        self, entries: Sequence[GroupEntry], attachment: Attachment, *, now: float, version: int
    ) -> list[GroupEntry]:
        """A new learner incarnation: what it saved is trained, what it lost is delivered again or rolled back."""
        transaction = self._transactor.begin()
        self._require(transaction, entries)
        kept: list[GroupEntry] = []
        for entry in entries:
            if entry.group_id in attachment.trained:
                if entry.status is GroupStatus.PUBLISHED:
                    transaction.move(*_moves(entry, OpenState.PUBLISHED, OpenState.APPLIED))
                self._train(transaction, [replace(entry, step=entry.step or attachment.step)], now)
            elif entry.group_id in attachment.rolled_back:
                event = Event(at=now, version=version, what="rolled_back", step=entry.step)
                self._end(transaction, entry, Outcome.ROLLED_BACK, event)
            elif entry.group_id in attachment.expired:
                self._end(transaction, entry, Outcome.EXPIRED, Event(at=now, version=version, what="expired"))
            else:
                if entry.status is GroupStatus.APPLIED:
                    transaction.move(*_moves(entry, OpenState.APPLIED, OpenState.PUBLISHED))
                kept.append(replace(entry, status=GroupStatus.PUBLISHED, step=None))
        self._put(transaction, kept)
        meta = self._keys.meta
        transaction.run("HSET", meta, "incarnation", attachment.incarnation)
        transaction.run("HSET", meta, "step", attachment.step, "checkpointed_step", attachment.step)
        attached = CourseEvent(
            at=now,
            what=Turn.LEARNER,
            who=attachment.incarnation,
            step=attachment.step,
            trained=len(attachment.trained),
            redelivered=len(attachment.redelivered),
            rolled_back=len(attachment.rolled_back),
        )
        remember(transaction, attached)
        await self._transactor.apply(transaction)
        return kept

    def _require_incarnation(self, transaction: Transaction, incarnation: str) -> None:
        stale = StaleIncarnation(f"learner {incarnation} was replaced by a newer one: stop it")
        transaction.require_equal(self._keys.meta, "incarnation", incarnation, stale)

    def _require(self, transaction: Transaction, entries: Iterable[GroupEntry]) -> None:
        # Compared whole: a group that ended or was batched meanwhile must neither come back nor be counted twice.
        for entry in entries:
            moved = Conflict(f"group {entry.group_id} has ended already, or gone on")
            transaction.require_equal(self._keys.index, entry.group_id, msgspec.json.encode(entry), moved)

    def _put(self, transaction: Transaction, entries: Iterable[GroupEntry]) -> None:
        for entry in entries:
            transaction.run("HSET", self._keys.index, entry.group_id, msgspec.json.encode(entry))

    def _train(self, transaction: Transaction, entries: Iterable[GroupEntry], now: float) -> None:
        for entry in entries:
            applied = replace(entry, status=GroupStatus.APPLIED)
            event = Event(at=now, version=entry.oldest_version, what="trained", step=entry.step)
            self._end(transaction, applied, Outcome.TRAINED, event)
            transaction.count("groups:trained", 1)

    def _end(self, transaction: Transaction, entry: GroupEntry, outcome: Outcome, event: Event) -> None:
        published = entry.status is GroupStatus.PUBLISHED
        transaction.move(*_moves(entry, OpenState.PUBLISHED if published else OpenState.APPLIED, outcome))
        transaction.run("HDEL", self._keys.index, entry.group_id)
        transaction.run("HDEL", self._keys.groups, entry.group_id)
        self._table.remember(transaction, entry.prompt_id, replace(event, group_id=entry.group_id))
        ending = Ending(
            at=event.at, version=event.version, what=event.what, reason=event.reason, step=event.step, outcome=outcome
        )
        put_group_ending(transaction, entry.group_id, ending)


async def group_entries(redis: "Redis", keys: RunKeys, group_ids: Sequence[str]) -> dict[str, GroupEntry]:
    """Of these groups those that are open, by id."""
    if not group_ids:
        return {}
    found = await redis.hmget(keys.index, list(group_ids))
    pairs = zip(group_ids, found, strict=True)
    return {group_id: msgspec.json.decode(raw(entry), type=GroupEntry) for group_id, entry in pairs if entry}


def _moves(entry: GroupEntry, source: OpenState, to: OpenState | Outcome) -> list[Move]:
    return [Move(stage=stage, source=source, to=to, count=count) for stage, count in entry.counts.items()]
