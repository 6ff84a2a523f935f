"""Runs: configuration, state, versions, steps and the ledger as read.

Owns: a run's record and its ledger counters. Never touches prompts or groups. Invariants: a run's state only changes by
a legal move, and the state it is changed from is checked in the same transaction; a budget is only ever raised, and
never under a drain that did not know of it.
"""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import msgspec
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.course import CourseEvent, Turn
from scheduler.core.errors import Conflict, NotFound
from scheduler.core.ledger import Ledger
from scheduler.core.lifecycle import ENDED, RunState, move_run
from scheduler.core.run import RunConfig
from scheduler.state.course import remember
from scheduler.state.keys import RUNS, RunKeys
from scheduler.state.table import SEQUENCE, sequence_field
from scheduler.state.transaction import Transactor
from scheduler.state.wire import text


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run at one moment."""

    run_id: str
    config: RunConfig
    state: RunState
    reason: str
    created_at: float
    started_at: float | None
    """When it first claimed a prompt; the wall-clock budget counts from here."""
    ended_at: float | None
    version: int
    """Weight version of the learner's policy; 0 before any was published."""
    live_version: int
    """Weight version that is live on the fleet; 0 before any is."""
    step: int
    """Last step the learner applied."""
    checkpointed_step: int
    """Last step the learner saved."""
    incarnation: str
    """The learner incarnation that is attached; empty before any is."""
    pool_sequence: int
    """Prompts of the pool up to this sequence number are in the table."""
    pool_sequences: Mapping[str, int] = field(default_factory=dict)
    """Likewise by pool, where several are mixed."""
    ending: RunState | None = None
    """The state it drains towards; None before it does."""
    num_raises: int = 0
    """How often its budget was raised."""


class RunStore:
    """Reads and writes run records."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def create(self, config: RunConfig, *, now: float, run_id: str | None = None) -> RunRecord:
        """Create a run in QUEUED; raises Conflict if the id is taken."""
        run_id = run_id or f"run-{uuid.uuid4().hex[:10]}"
        transactor = Transactor(self._redis, RunKeys(run_id), None)
        transaction, meta = transactor.begin(), transactor.keys.meta
        transaction.require_no_field(meta, "config", taken(run_id))
        transaction.run("HSET", meta, "config", msgspec.json.encode(config))
        transaction.run("HSET", meta, "state", RunState.QUEUED.value, "created_at", repr(now))
        # The list has another hash tag, so it is written apart, and by a refused creation too: that may be the second
        # try of one whose scheduler died before this line.
        try:
            await transactor.apply(transaction)
        except Conflict:
            await self._redis.zadd(RUNS, {run_id: (await self.get(run_id)).created_at}, nx=True)
            raise
        await self._redis.zadd(RUNS, {run_id: now}, nx=True)
        return await self.get(run_id)

    async def exists(self, run_id: str) -> bool:
        """Whether the id is taken."""
        return bool(await self._redis.hexists(RunKeys(run_id).meta, "config"))

    async def ids(self) -> list[str]:
        """Ids of all runs, oldest first."""
        return [text(member) for member in await self._redis.zrange(RUNS, 0, -1)]

    async def get(self, run_id: str) -> RunRecord:
        """The run's record; raises NotFound."""
        found = await self._redis.hgetall(RunKeys(run_id).meta)
        if b"state" not in found:
            raise NotFound(f"there is no run {run_id}", field="run")
        meta = {text(name): text(value) for name, value in found.items()}

        config = msgspec.json.decode(meta["config"], type=RunConfig)
        if "budget" in meta:
            config = replace(config, budget=msgspec.json.decode(meta["budget"], type=Budget))

        def moment(name: str) -> float | None:
            return float(meta[name]) if name in meta else None

        return RunRecord(
            run_id=run_id,
            config=config,
            state=RunState(meta["state"]),
            reason=meta.get("reason", ""),
            created_at=float(meta["created_at"]),
            started_at=moment("started_at"),
            ended_at=moment("ended_at"),
            version=int(meta.get("version", 0)),
            live_version=int(meta.get("live_version", 0)),
            step=int(meta.get("step", 0)),
            checkpointed_step=int(meta.get("checkpointed_step", 0)),
            incarnation=meta.get("incarnation", ""),
            pool_sequence=int(meta.get(SEQUENCE, 0)),
            pool_sequences={
                pool: int(meta[sequence_field(pool)]) for pool in config.mixture.names if sequence_field(pool) in meta
            },
            ending=RunState(meta["ending"]) if "ending" in meta else None,
            num_raises=int(meta.get("num_raises", 0)),
        )

    async def ledger(self, run_id: str) -> Ledger:
        """The ledger, read in one command."""
        return Ledger.from_counters(await self.counters(run_id))

    async def counters(self, run_id: str) -> dict[str, int]:
        """Every ledger counter: attempts, tokens, reservations, verdicts."""
        return await counters_of(self._redis, RunKeys(run_id))

    async def change_state(
        self, transactor: Transactor, current: RunState, to: RunState, *, reason: str, now: float
    ) -> None:
        """Move the run; raises IllegalMove, or Conflict if it is no longer in `current`."""
        transaction = transactor.begin()
        moved = move_run(current, to)
        conflict = Conflict(f"run {transactor.keys.run_id} is no longer {current}")
        meta = transactor.keys.meta
        transaction.require_equal(meta, "state", current.value, conflict)
        transaction.run("HSET", meta, "state", moved.value, "reason", reason)
        if moved in ENDED:
            transaction.run("HSET", meta, "ended_at", repr(now))
        remember(transaction, CourseEvent(at=now, what=Turn.STATE, state=moved, reason=reason))
        await transactor.apply(transaction)

    async def settle_ending(
        self, transactor: Transactor, ending: RunState, *, reason: str, now: float, num_raises: int | None = None
    ) -> None:
        """Say what the run is to end in, and why.

        With `num_raises`, raises Conflict if its budget was raised more often than that by now.
        """
        transaction, meta = transactor.begin(), transactor.keys.meta
        if num_raises is not None:
            raised = Conflict(f"the budget of run {transactor.keys.run_id} has been raised meanwhile")
            transaction.require_equal(meta, "num_raises", num_raises or "", raised)
        transaction.run("HSET", meta, "ending", ending.value, "reason", reason)
        remember(transaction, CourseEvent(at=now, what=Turn.ENDING, state=ending, reason=reason))
        await transactor.apply(transaction)

    async def raise_budget(self, transactor: Transactor, record: RunRecord, to: Budget, *, now: float) -> None:
        """Raise the run's budget to the limits that `to` has; nothing changes where they are as high already.

        Raises InvalidInput for a lower one, Conflict if the run is ending or was raised by somebody else meanwhile.
        """
        before, run_id, meta = record.config.budget, record.run_id, transactor.keys.meta
        budget = before.raised(to)
        if budget == before:
            return
        transaction = transactor.begin()
        over = Conflict(f"run {run_id} is ending: its budget cannot be raised any more; create another run")
        transaction.require_no_field(meta, "ending", over)
        transaction.require_no_field(meta, "ended_at", over)
        again = Conflict(f"the budget of run {run_id} has just been raised by somebody else: look at it and ask again")
        transaction.require_equal(meta, "num_raises", record.num_raises or "", again)
        transaction.run("HSET", meta, "budget", msgspec.json.encode(budget), "num_raises", record.num_raises + 1)
        pairs = ((name, limit, asdict(budget)[name]) for name, limit in asdict(before).items())
        told = "; ".join(f"{name} from {limit:,} to {new:,}" for name, limit, new in pairs if new != limit)
        remember(transaction, CourseEvent(at=now, what=Turn.BUDGET, reason=told))
        await transactor.apply(transaction)

    async def remember(self, transactor: Transactor, event: CourseEvent) -> None:
        """Write into the run's course what changes nothing else."""
        transaction = transactor.begin()
        remember(transaction, event)
        await transactor.apply(transaction)

    async def count(self, transactor: Transactor, counter: str) -> None:
        """Add one to a counter of the ledger that no attempt moves."""
        transaction = transactor.begin()
        transaction.count(counter, 1)
        await transactor.apply(transaction)

    async def note(self, transactor: Transactor, **fields: str | int | float) -> None:
        """Record facts of the run: started_at, live_version, reason."""
        transaction = transactor.begin()
        for name, value in fields.items():
            transaction.run("HSET", transactor.keys.meta, name, repr(value) if isinstance(value, float) else value)
        await transactor.apply(transaction)


def taken(run_id: str) -> Conflict:
    """Of an id that another run has."""
    return Conflict(f"run {run_id} exists already: choose another id", field="run_id")


async def counters_of(redis: "Redis", keys: RunKeys) -> dict[str, int]:
    """Every ledger counter of a run."""
    return {text(name): int(value) for name, value in (await redis.hgetall(keys.ledger)).items()}
