"""The informativeness table of a run: per prompt its evidence, when it returns, and its history.

Owns: rows, the order in which prompts are claimable, and histories. Never decides a verdict. Invariant: a prompt is in
exactly one place (ready, waiting, quarantined, or an open visit), so none is ever lost. One without a row is fresh.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import msgspec
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, IllegalMove, NotClaimable
from scheduler.core.lifecycle import PromptState
from scheduler.core.mixture import UNMIXED, Mixture
from scheduler.core.pool_tally import CLAIMED, CONSIDERED, FORFEITED, pool_counter
from scheduler.core.run import RunConfig
from scheduler.state.keys import RunKeys
from scheduler.state.row import Event, PassedRow, PromptView, Row
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.wire import raw, text

HISTORY_LENGTH = 50
SEQUENCE = "pool_sequence"
"""Field of a run's record: prompts of its pool up to this number are in the table."""
_ROUND = float(1 << 32)
NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyPool:
    """What is claimable of one pool."""

    prompts: int
    epoch: int | None
    """Visits that every one of them has had at least; None while there are none."""


def sequence_field(pool: str) -> str:
    """The field of a run's record that has the like of `SEQUENCE` for one pool of several."""
    return f"{SEQUENCE}:{pool}"


def claim_order(prompt_id: str, visits: int, seed: int) -> float:
    """Score in the ready set: every prompt once per round, in an order shuffled anew by seed and round."""
    digest = hashlib.blake2b(f"{seed}:{visits}:{prompt_id}".encode(), digest_size=4).digest()
    return visits * _ROUND + int.from_bytes(digest, "big")


class _OpenVisit(msgspec.Struct, frozen=True):
    prompt_id: str


def _prompt_of(visit: bytes) -> str:
    return msgspec.json.decode(visit, type=_OpenVisit).prompt_id


def not_claimable(prompt_id: str) -> NotClaimable:
    """What there is to say of a prompt that was to be claimed or passed over, and is elsewhere."""
    return NotClaimable(f"prompt {prompt_id} is not claimable", field=prompt_id)


async def claimed_prompts(redis: "Redis", keys: RunKeys) -> set[str]:
    """Prompts that are in a visit; costs a look at every open visit of the run."""
    return {_prompt_of(raw(visit)) for visit in await redis.hvals(keys.visits)}


def _state_of(*, waits: bool, is_apart: bool, is_claimed: bool) -> PromptState:
    """The state of a prompt, which is in one place at most; in none it is claimable, or will be once taken in."""
    if waits:
        return PromptState.WAITING
    if is_apart:
        return PromptState.QUARANTINED
    return PromptState.CLAIMED if is_claimed else PromptState.READY


class Table:
    """Reads and writes the table of one run."""

    def __init__(self, redis: "Redis", keys: RunKeys, *, seed: int, mixture: Mixture = UNMIXED) -> None:
        self._redis = redis
        self._keys = keys
        self._seed = seed
        self.mixture = mixture

    @classmethod
    def of(cls, redis: "Redis", keys: RunKeys, config: RunConfig) -> Self:
        """The table of a run that was created so."""
        return cls(redis, keys, seed=config.seed, mixture=config.mixture)

    def ready(self, pool: str) -> str:
        """Key of the claimable prompts of one of the run's pools."""
        return self._keys.ready_of(pool) if self.mixture.is_mixed else self._keys.ready

    def _ready_with(self, prompt_id: str) -> str:
        return self.ready(self.mixture.pool_of(prompt_id))

    def by_ready(self, prompt_ids: Iterable[str]) -> dict[str, list[str]]:
        """Prompts by the key that has them while they are claimable."""
        found: dict[str, list[str]] = {}
        for prompt_id in prompt_ids:
            found.setdefault(self._ready_with(prompt_id), []).append(prompt_id)
        return found

    async def rows(self, prompt_ids: Sequence[str]) -> dict[str, Row]:
        """Rows by prompt id; prompts never visited are missing."""
        if not prompt_ids:
            return {}
        found = await self._redis.hmget(self._keys.table, list(prompt_ids))
        pairs = zip(prompt_ids, found, strict=True)
        return {name: msgspec.msgpack.decode(raw(row), type=Row) for name, row in pairs if row is not None}

    async def states(self, prompt_ids: Sequence[str]) -> list[PromptState]:
        """The state of each prompt, in the order asked."""
        if not prompt_ids:
            return []
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zmscore(self._keys.waiting, [*prompt_ids])
            pipe.zmscore(self._keys.quarantined, [*prompt_ids])
            pipe.hvals(self._keys.visits)
            waiting, quarantined, visits = await pipe.execute()
        claimed = {_prompt_of(visit) for visit in visits}
        return [
            _state_of(waits=returns is not None, is_apart=apart is not None, is_claimed=prompt_id in claimed)
            for prompt_id, returns, apart in zip(prompt_ids, waiting, quarantined, strict=True)
        ]

    async def sample(self, limit: int, pool: str = "") -> list[str]:
        """The first `limit` claimable prompts of a pool: a bounded sample, never the whole of it."""
        return [text(member) for member in await self._redis.zrange(self.ready(pool), 0, limit - 1)]

    async def claimable(self) -> dict[str, ReadyPool]:
        """What is claimable of each pool of the run."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for pool in self.mixture.names:
                pipe.zcard(self.ready(pool))
                pipe.zrange(self.ready(pool), 0, 0, withscores=True)
            found = await pipe.execute()
        return {
            pool: ReadyPool(prompts=size, epoch=int(first[0][1] // _ROUND) if first else None)
            for pool, size, first in zip(self.mixture.names, found[::2], found[1::2], strict=True)
        }

    async def turns_taken(self) -> dict[str, int]:
        """Turns that each of several pools has had in claims: those it used and those it let pass."""
        names = [pool_counter(pool, kind) for pool in self.mixture.names for kind in (CLAIMED, FORFEITED)]
        found = [int(count or 0) for count in await self._redis.hmget(self._keys.ledger, names)]
        pairs = zip(found[::2], found[1::2], strict=True)
        return {pool: sum(pair) for pool, pair in zip(self.mixture.names, pairs, strict=True)}

    async def forfeit(self, transactor: Transactor, forfeited: Mapping[str, int]) -> None:
        """Count turns that pools let pass; one that does not fit the next claim is not asked for later."""
        transaction = transactor.begin()
        for pool, count in forfeited.items():
            transaction.count(pool_counter(pool, FORFEITED), count)
        if any(forfeited.values()):
            await transactor.apply(transaction)

    async def some_rows(self, limit: int) -> tuple[list[Row], int]:
        """At most `limit` rows drawn evenly, all of a table that has no more; and how many rows there are."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hrandfield(self._keys.table, limit)
            pipe.hlen(self._keys.table)
            names, num_rows = await pipe.execute()
        return list((await self.rows([text(name) for name in names])).values()), num_rows

    async def sizes(self) -> Mapping[PromptState, int]:
        """Prompts by state."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hlen(self._keys.visits)
            pipe.zcard(self._keys.waiting)
            pipe.zcard(self._keys.quarantined)
            for pool in self.mixture.names:
                pipe.zcard(self.ready(pool))
            claimed, waiting, quarantined, *ready = await pipe.execute()
        return {
            PromptState.READY: sum(ready),
            PromptState.CLAIMED: claimed,
            PromptState.WAITING: waiting,
            PromptState.QUARANTINED: quarantined,
        }

    async def next_return(self) -> int | None:
        """The earliest weight version at which a waiting prompt returns; None if none ever does."""
        first = await self._redis.zrange(self._keys.waiting, 0, 0, withscores=True)
        return None if not first or first[0][1] == NEVER else int(first[0][1])

    async def seed_prompts(
        self, transactor: Transactor, prompt_ids: Iterable[str], sequence: int, pool: str = ""
    ) -> None:
        """Make new prompts of a pool claimable, up to the pool's sequence number."""
        transaction = transactor.begin()
        for prompt_id in prompt_ids:
            transaction.run("ZADD", self.ready(pool), "NX", claim_order(prompt_id, 0, self._seed), prompt_id)
        field = sequence_field(pool) if self.mixture.is_mixed else SEQUENCE
        transaction.run("HSET", self._keys.meta, field, sequence)
        await transactor.apply(transaction)

    async def return_due(self, transactor: Transactor, version: int, *, limit: int = 1000) -> list[str]:
        """Make waiting prompts claimable whose version has come; returns which."""
        due = await self._redis.zrangebyscore(self._keys.waiting, "-inf", version, start=0, num=limit)
        return await self._return(transactor, [text(member) for member in due])

    async def return_earliest(self, transactor: Transactor, count: int) -> list[str]:
        """Make the `count` prompts that wait least claimable before their time; returns which.

        For when nothing else is left to claim.
        """
        due = await self._redis.zrangebyscore(self._keys.waiting, "-inf", f"({NEVER}", start=0, num=count)
        return await self._return(transactor, [text(member) for member in due])

    async def _return(self, transactor: Transactor, prompt_ids: list[str]) -> list[str]:
        if not prompt_ids:
            return []
        rows = await self.rows(prompt_ids)
        transaction = transactor.begin()
        for prompt_id in prompt_ids:
            self._make_ready(transaction, prompt_id, rows.get(prompt_id), self._keys.waiting)
        await transactor.apply(transaction)
        return prompt_ids

    def _make_ready(self, transaction: Transaction, prompt_id: str, row: Row | None, source: str) -> None:
        visits = 0 if row is None else row.evidence.visits
        transaction.run("ZREM", source, prompt_id)
        score = claim_order(prompt_id, visits, self._seed)
        transaction.run("ZADD", self._ready_with(prompt_id), score, prompt_id)

    async def reinstate(self, transactor: Transactor, prompt_id: str, *, now: float, version: int) -> None:
        """An operator makes a waiting or quarantined prompt claimable; raises Conflict if it is neither."""
        view = await self.view(prompt_id)
        places = {PromptState.WAITING: self._keys.waiting, PromptState.QUARANTINED: self._keys.quarantined}
        if view.state not in places:
            raise Conflict(f"prompt {prompt_id} is {view.state}: only a waiting or quarantined one can be reinstated")
        source = places[view.state]
        transaction = transactor.begin()
        # It may have returned and been claimed since it was looked at: it must not become ready a second time.
        transaction.require_ranked(
            source, [prompt_id], lambda name: Conflict(f"prompt {name} is no longer {view.state}")
        )
        self._make_ready(transaction, prompt_id, view.row, source)
        if view.row is not None:
            # A fresh start: one more lost visit must not quarantine it again at once.
            row = replace(view.row, lost_visits=0, failed_visits=0, next_version=0)
            transaction.run("HSET", self._keys.table, prompt_id, msgspec.msgpack.encode(row))
        self.remember(transaction, prompt_id, Event(at=now, version=version, what="reinstated"))
        await transactor.apply(transaction)

    async def position(self, prompt_id: str) -> int | None:
        """How many claimable prompts of its pool come before it in the order of claims; None if it is not claimable."""
        rank = await self._redis.zrank(self._ready_with(prompt_id), prompt_id)
        return rank if isinstance(rank, int) else None

    async def view(self, prompt_id: str) -> PromptView:
        """Everything known of one prompt."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zscore(self._keys.waiting, prompt_id)
            pipe.zscore(self._keys.quarantined, prompt_id)
            pipe.hget(self._keys.table, prompt_id)
            pipe.lrange(self._keys.history(prompt_id), 0, -1)
            pipe.hvals(self._keys.visits)
            waiting, quarantined, row, events, visits = await pipe.execute()
        state = _state_of(
            waits=waiting is not None,
            is_apart=quarantined is not None,
            is_claimed=any(_prompt_of(visit) == prompt_id for visit in visits),
        )
        return PromptView(
            prompt_id=prompt_id,
            state=state,
            row=None if row is None else msgspec.msgpack.decode(row, type=Row),
            history=tuple(msgspec.json.decode(event, type=Event) for event in events),
        )

    async def many(self, prompt_ids: Sequence[str]) -> list[PromptView]:
        """What is known of each prompt, without its history, in the order asked."""
        rows, states = await self.rows(prompt_ids), await self.states(prompt_ids)
        return [
            PromptView(prompt_id=name, state=state, row=rows.get(name))
            for name, state in zip(prompt_ids, states, strict=True)
        ]

    async def histories(self, prompt_ids: Sequence[str]) -> dict[str, list[Event]]:
        """The history of each prompt, newest first."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for prompt_id in prompt_ids:
                pipe.lrange(self._keys.history(prompt_id), 0, -1)
            found = await pipe.execute()
        return {
            name: [msgspec.json.decode(event, type=Event) for event in events]
            for name, events in zip(prompt_ids, found, strict=True)
        }

    def place(self, transaction: Transaction, prompt_id: str, row: Row, state: PromptState) -> None:
        """Put a prompt whose visit ends where it belongs, with its new row; raises IllegalMove for CLAIMED."""
        if state is PromptState.CLAIMED:
            raise IllegalMove(f"prompt {prompt_id} cannot be placed as claimed: only a visit holds it so")
        transaction.run("HSET", self._keys.table, prompt_id, msgspec.msgpack.encode(row))
        if state is PromptState.READY:
            score = claim_order(prompt_id, row.evidence.visits, self._seed)
            transaction.run("ZADD", self._ready_with(prompt_id), score, prompt_id)
        elif state is PromptState.WAITING:
            returns = "+inf" if row.next_version is None else row.next_version
            transaction.run("ZADD", self._keys.waiting, returns, prompt_id)
        else:
            transaction.run("ZADD", self._keys.quarantined, row.evidence.visits, prompt_id)

    def count(self, transaction: Transaction, prompt_id: str, counter: str, delta: int) -> None:
        """Change a counter of the ledger, and where pools are mixed that of the prompt's pool too."""
        transaction.count(counter, delta)
        self.count_by_pool(transaction, prompt_id, counter, delta)

    def count_by_pool(self, transaction: Transaction, prompt_id: str, counter: str, delta: int) -> None:
        """Change a counter of the prompt's pool, where pools are mixed."""
        if self.mixture.is_mixed and delta:
            transaction.count(pool_counter(self.mixture.pool_of(prompt_id), counter), delta)

    def remember(self, transaction: Transaction, prompt_id: str, event: Event) -> None:
        """Append to a prompt's capped history."""
        transaction.run("LPUSH", self._keys.history(prompt_id), msgspec.json.encode(event))
        transaction.run("LTRIM", self._keys.history(prompt_id), 0, HISTORY_LENGTH - 1)

    async def pass_over(self, transactor: Transactor, passed: Sequence[PassedRow]) -> None:
        """Record that history alone judged prompts: they go on without a pilot, at their next turn.

        Raises NotClaimable, with nothing changed, if one of them is not.
        """
        transaction = transactor.begin()
        for key, prompt_ids in self.by_ready(row.prompt_id for row in passed).items():
            transaction.require_ranked(key, prompt_ids, not_claimable)
        for row in passed:
            name = row.prompt_id
            self.place(transaction, name, row.row, PromptState.READY)
            self.remember(transaction, name, row.event)
            self.count(transaction, name, CONSIDERED, 1)
            self.count(transaction, name, f"passed_over:{row.verdict}", 1)
        await transactor.apply(transaction)
