"""Open visits: prompts that a scheduler has claimed, and what it has asked for them.

Owns: the durable steps of a visit — claim, launch, land, extend, settle, publish — each one transaction over prompt
state, ledger and group stream. Never decides which. Invariants: nothing is launched that was not reserved; a visit ends
once, with all its attempts accounted for and what is left of its reservation refunded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import msgspec
from redis.asyncio import Redis

from scheduler.core.budget import Budget, worst_case
from scheduler.core.errors import BudgetExhausted, Conflict, IllegalMove, NotClaimable
from scheduler.core.incomplete import Shortfall, shortfall_counter
from scheduler.core.ledger import Ledger, Move, OpenState, Outcome, Status
from scheduler.core.lifecycle import PromptState, move_prompt
from scheduler.core.packed import pack, unpack
from scheduler.core.pool_tally import CLAIMED, CONSIDERED, ROLLOUTS, TOKENS
from scheduler.core.spend import (
    GROUPED,
    MIXED,
    MIXED_GROUPS,
    SIGNAL,
    STRAGGLERS,
    TOO_STALE,
    VISITED,
    first_verdict_counter,
    first_visit_counter,
    revisit_counter,
)
from scheduler.core.types import Group, Rollout, Stage, Verdict
from scheduler.state.completions import packed_completions, put_completions
from scheduler.state.groups import GroupEntry
from scheduler.state.keys import RunKeys
from scheduler.state.records import Attempt, Ending, Record, RecordStore, closed, put_record
from scheduler.state.row import Event, Row
from scheduler.state.runs import counters_of
from scheduler.state.table import Table, not_claimable
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.unsolved import note_unsolved
from scheduler.state.visit import Change, Claimed, Landing, Trace, Visit
from scheduler.state.wire import raw

_REASONED = frozenset({Verdict.SKIP, Verdict.DEFER, Verdict.EVICT})
"""Verdicts whose reason is one word of their rule's closed set, so that it can be counted."""
_AT_ONCE = 1000
"""Visits opened in one transaction: Lua hands a command a few thousand operands at most."""


_NO_TRACE = Trace()


class VisitStore:
    """Reads and writes the open visits of one run under its lease."""

    def __init__(
        self,
        redis: "Redis",
        transactor: Transactor,
        table: Table,
        *,
        budget: Budget,
        max_new_tokens: int,
        keeps_completions: bool = True,
    ) -> None:
        self._redis = redis
        self._transactor = transactor
        self._keys: RunKeys = transactor.keys
        self._table = table
        self.budget = budget
        """What may be spent; it is raised while the run goes on."""
        self._max_new_tokens = max_new_tokens
        self._keeps_completions = keeps_completions
        self._records = RecordStore(redis, self._keys)

    async def open_visits(self) -> list[tuple[Visit, tuple[Rollout, ...]]]:
        """Every open visit with the rollouts it holds: what a successor resumes."""
        visits = await self._redis.hgetall(self._keys.visits)
        held = await self._redis.hgetall(self._keys.rollouts)
        return [
            (
                msgspec.json.decode(raw(visit), type=Visit),
                unpack(raw(held[name]), tuple[Rollout, ...]) if name in held else (),
            )
            for name, visit in visits.items()
        ]

    async def attempts(self, visit_id: str) -> tuple[Attempt, ...]:
        """Every attempt of an open visit, as far as it was recorded."""
        recorded = await self._records.get(visit_id)
        return () if recorded is None else recorded.record.attempts

    async def claim(self, visits: Sequence[Visit]) -> Claimed:
        """Open visits to claimable prompts and reserve for each the largest group it may become.

        In order, and for as many as the budget has room: the others stay claimable.
        """
        opened: list[Visit] = []
        refused: list[Visit] = []
        for start in range(0, len(visits), _AT_ONCE):
            part = await self._claim(visits[start : start + _AT_ONCE])
            opened += part.visits
            refused += part.refused
            if part.is_out_of_budget:
                return Claimed(visits=tuple(opened), refused=tuple(refused), is_out_of_budget=True)
        return Claimed(visits=tuple(opened), refused=tuple(refused))

    async def _claim(self, visits: Sequence[Visit]) -> Claimed:
        fitting, refused, is_out_of_budget = list(visits), list[Visit](), False
        while fitting:
            try:
                await self._transactor.apply(self._claims(fitting))
            except NotClaimable as conflict:
                refused += [visit for visit in fitting if visit.prompt_id == conflict.field]
                fitting = [visit for visit in fitting if visit.prompt_id != conflict.field]
            except BudgetExhausted:
                is_out_of_budget = True
                fitting = fitting[: await self._room(fitting)]
            else:
                break
        return Claimed(visits=tuple(fitting), refused=tuple(refused), is_out_of_budget=is_out_of_budget)

    def _claims(self, visits: Sequence[Visit]) -> Transaction:
        transaction = self._transactor.begin()
        for key, members in self._table.by_ready(visit.prompt_id for visit in visits).items():
            # All of one pool.
            transaction.take_ranked(key, members, not_claimable)
            self._table.count(transaction, members[0], CONSIDERED, len(members))
            self._table.count_by_pool(transaction, members[0], CLAIMED, len(members))
        self._reserve(transaction, sum(visit.reserved for visit in visits))
        pairs = (operand for visit in visits for operand in (visit.visit_id, msgspec.json.encode(visit)))
        transaction.run("HSET", self._keys.visits, *pairs)
        return transaction

    async def _room(self, refused: Sequence[Visit]) -> int:
        """How many of visits that did not fit together the budget has room for: fewer than all, from the first on."""
        ledger = Ledger.from_counters(await counters_of(self._redis, self._keys))
        reserved = accumulate(visit.reserved for visit in refused[:-1])
        return sum(self.budget.fits(ledger, worst_case(rollouts, self._max_new_tokens)) for rollouts in reserved)

    async def extend(self, visit: Visit, rollouts: int) -> Visit:
        """Reserve for attempts made again; raises BudgetExhausted."""
        change = self._begun(visit)
        self._reserve(change.transaction, rollouts)
        return await self.write(change.to(replace(visit, reserved=visit.reserved + rollouts)))

    async def resume(self, visit: Visit, *, fence: int) -> Visit:
        """Take over a dead incarnation's visit: what it had in flight is lost and charged in full."""
        attempts = closed(await self.attempts(visit.visit_id), Outcome.LOST, "the scheduler that sent it went away")
        for stage, count in visit.in_flight.items():
            if count:
                visit = await self.land(visit, Landing(stage=stage, lost=count), held=(), attempts=attempts)
        return await self.write(self._begun(visit).to(replace(visit, fence=fence)))

    async def launch(self, visit: Visit | Change, stage: Stage, count: int, attempts: Sequence[Attempt] = ()) -> Visit:
        """Turn reserved rollouts into attempts in flight; they are charged from here on.

        `attempts` are all that the visit has made, these included.
        Raises IllegalMove for more than the visit has reserved.
        """
        change = self._begun(visit)
        transaction, visit = change.transaction, change.visit
        if count > visit.reserved:
            raise IllegalMove(f"visit {visit.visit_id} has {visit.reserved} rollouts reserved, not {count}")
        transaction.count("reserved:rollouts", -count)
        self._table.count(transaction, visit.prompt_id, ROLLOUTS, count)
        transaction.move(Move(stage=stage, source=None, to=OpenState.IN_FLIGHT, count=count))
        launched = replace(
            visit,
            reserved=visit.reserved - count,
            in_flight={**visit.in_flight, stage: visit.in_flight.get(stage, 0) + count},
        )
        return await self.write(change.to(launched, attempts=attempts))

    async def land(
        self, visit: Visit, landing: Landing, *, held: Sequence[Rollout], attempts: Sequence[Attempt] = ()
    ) -> Visit:
        """Account for attempts that came back; `held` is every rollout the visit now holds, persisted here."""
        return await self.write(self.landed(visit, landing, held=held, attempts=attempts))

    def landed(
        self, visit: Visit, landing: Landing, *, held: Sequence[Rollout], attempts: Sequence[Attempt] = ()
    ) -> Change:
        """The same, to be written with what follows from it: that is one transaction less to wait for."""
        change = self._begun(visit)
        transaction = change.transaction
        stage, num_rollouts = landing.stage, len(landing.rollouts)
        flying = OpenState.IN_FLIGHT
        transaction.move(
            Move(stage=stage, source=flying, to=OpenState.HELD, count=num_rollouts),
            Move(stage=stage, source=flying, to=Outcome.FAILED, count=landing.failed),
            Move(stage=stage, source=flying, to=Outcome.LOST, count=landing.lost),
            Move(stage=stage, source=flying, to=Outcome.CANCELLED, count=landing.cancelled + landing.cut),
            Move(stage=stage, source=flying, to=Outcome.EXPIRED, count=landing.expired),
        )
        transaction.count(TOO_STALE, landing.expired)
        transaction.count(STRAGGLERS, landing.cut)
        generated = sum(len(rollout.token_ids) for rollout in landing.rollouts)
        generated += landing.failed_tokens + landing.recalled_tokens
        # A cancelled attempt may have generated anything up to its limit, as a lost one may.
        tokens = generated + (landing.lost + landing.cancelled) * self._max_new_tokens
        transaction.count("reserved:tokens", -landing.count * self._max_new_tokens)
        self._table.count(transaction, visit.prompt_id, TOKENS, tokens)
        transaction.count(f"tokens:{stage}", tokens)
        transaction.count(f"prompt_tokens:{stage}", landing.prompt_tokens)
        if stage is Stage.PILOT:
            correct = sum(rollout.correct for rollout in landing.rollouts)
            self._table.count(transaction, visit.prompt_id, "pilots:judged", num_rollouts)
            self._table.count(transaction, visit.prompt_id, "pilots:correct", correct)
        landed = replace(
            visit,
            in_flight={**visit.in_flight, stage: visit.in_flight.get(stage, 0) - landing.count},
            held={**visit.held, stage: visit.held.get(stage, 0) + num_rollouts},
        )
        return change.to(landed, held=held, attempts=attempts)

    async def write(self, change: Change) -> Visit:
        """Write a change by itself."""
        transaction, visit = change.transaction.copy(), change.visit
        if change.held:
            transaction.run("HSET", self._keys.rollouts, visit.visit_id, pack(change.held))
        self._record(transaction, visit, change.attempts)
        transaction.run("HSET", self._keys.visits, visit.visit_id, msgspec.json.encode(visit))
        await self._transactor.apply(transaction)
        return visit

    async def settle(
        self,
        visit: Visit | Change,
        outcome: Outcome,
        *,
        row: Row,
        state: PromptState,
        event: Event,
        trace: Trace = _NO_TRACE,
        shortfall: Shortfall | None = None,
    ) -> None:
        """End a visit without a group: its rollouts get `outcome`, the rest of its reservation is refunded."""
        completions = await self._packed(trace)
        change = self._begun(visit)
        transaction, visit = change.transaction, change.visit
        is_judged = event.what in _REASONED
        self._end(change, outcome, row, state, event, trace, shortfall, completions, is_judged=is_judged)
        transaction.move(
            *(Move(stage=stage, source=OpenState.HELD, to=outcome, count=count) for stage, count in visit.held.items())
        )
        self._table.count(transaction, visit.prompt_id, f"verdict:{event.what}", 1)
        if is_judged:
            transaction.count(f"reason:{event.what}:{event.reason}", 1)
            _count_revisit(transaction, trace, Verdict(event.what))
        await self._transactor.apply(transaction)

    async def publish(
        self,
        visit: Visit | Change,
        group: Group,
        entry: GroupEntry,
        *,
        row: Row,
        event: Event,
        trace: Trace = _NO_TRACE,
        shortfall: Shortfall | None = None,
    ) -> None:
        """End a visit with a group: prompt state, ledger and group stream in one transaction.

        Raises IllegalMove if the entry does not count exactly the rollouts that the visit holds.
        """
        completions = await self._packed(trace)
        change = self._begun(visit)
        transaction, visit = change.transaction, change.visit
        if _present(entry.counts) != _present(visit.held):
            raise IllegalMove(f"group {entry.group_id} counts {entry.counts}, its visit holds {visit.held}")
        ready = PromptState.READY
        self._end(change, OpenState.PUBLISHED, row, ready, event, trace, shortfall, completions, is_judged=True)
        transaction.move(
            *(
                Move(stage=stage, source=OpenState.HELD, to=OpenState.PUBLISHED, count=count)
                for stage, count in visit.held.items()
            )
        )
        self._table.count(transaction, visit.prompt_id, "verdict:commit", 1)
        _count_revisit(transaction, trace, Verdict.COMMIT)
        transaction.count(GROUPED, entry.num_rollouts)
        transaction.count(MIXED, entry.num_rollouts if entry.reward_std else 0)
        transaction.count(MIXED_GROUPS, 1 if entry.reward_std else 0)
        transaction.count(SIGNAL, round(1000 * entry.num_rollouts * entry.reward_std**2))
        transaction.run("HSET", self._keys.groups, group.group_id, pack(group))
        transaction.run("HSET", self._keys.index, group.group_id, msgspec.json.encode(entry))
        await self._transactor.apply(transaction)

    def _reserve(self, transaction: Transaction, rollouts: int) -> None:
        tokens = rollouts * self._max_new_tokens
        transaction.require_limit(("spent:rollouts", "reserved:rollouts"), rollouts, self.budget.rollouts)
        transaction.require_limit(("spent:tokens", "reserved:tokens"), tokens, self.budget.tokens)
        transaction.count("reserved:rollouts", rollouts)
        transaction.count("reserved:tokens", tokens)

    def _end(
        self,
        change: Change,
        status: Status,
        row: Row,
        state: PromptState,
        event: Event,
        trace: Trace,
        shortfall: Shortfall | None,
        completions: bytes,
        *,
        is_judged: bool,
    ) -> None:
        transaction, visit = change.transaction, change.visit
        if _present(visit.in_flight):
            raise IllegalMove(f"visit {visit.visit_id} cannot end with attempts in flight: {visit.in_flight}")
        move_prompt(PromptState.CLAIMED, state)
        if row.evidence.visits == 1:
            transaction.count(VISITED, 1)
        if row.evidence.visits == 1 and event.pilots:
            transaction.count(first_visit_counter(event.correct, event.pilots), 1)
        if is_judged and trace.last_verdict is None and event.pilots:
            transaction.count(first_verdict_counter(event.correct, event.pilots), 1)
        if shortfall is not None:
            transaction.count(shortfall_counter(shortfall), 1)
        transaction.count("reserved:rollouts", -visit.reserved)
        transaction.count("reserved:tokens", -visit.reserved * self._max_new_tokens)
        transaction.run("HDEL", self._keys.visits, visit.visit_id)
        transaction.run("HDEL", self._keys.rollouts, visit.visit_id)
        self._table.place(transaction, visit.prompt_id, row, state)
        self._table.remember(transaction, visit.prompt_id, replace(event, visit_id=visit.visit_id))
        note_unsolved(transaction, visit.prompt_id, row.evidence, trace.rollouts)
        put_completions(transaction, visit.visit_id, completions, at=event.at)
        ending = Ending(at=event.at, version=event.version, what=event.what, reason=event.reason, outcome=status)
        self._record(transaction, visit, trace.attempts or change.attempts, ending)

    async def _packed(self, trace: Trace) -> bytes:
        """The texts that are kept of a visit."""
        return await packed_completions((*trace.rollouts, *trace.unjudged)) if self._keeps_completions else b""

    def _record(
        self, transaction: Transaction, visit: Visit, attempts: Sequence[Attempt], ending: Ending | None = None
    ) -> None:
        if attempts or ending is not None:
            record = Record(visit_id=visit.visit_id, prompt_id=visit.prompt_id, attempts=tuple(attempts), ending=ending)
            put_record(transaction, record)

    def _begun(self, visit: Visit | Change) -> Change:
        """What a move of a visit is added to."""
        if isinstance(visit, Change):
            # A copy: where the move comes to nothing, the change is still to be written as it was.
            return replace(visit, transaction=visit.transaction.copy())
        transaction = self._transactor.begin()
        # Compared whole: a cancelled coroutine's last step may arrive after its visit was read by whoever cleans up.
        gone = Conflict(f"visit {visit.visit_id} has ended already, or gone on")
        transaction.require_equal(self._keys.visits, visit.visit_id, msgspec.json.encode(visit), gone)
        return Change(transaction=transaction, visit=visit)


async def open_visits_of(redis: "Redis", keys: RunKeys, prompt_id: str) -> list[Visit]:
    """The open visit to a prompt, if there is one; costs a look at every open visit of the run."""
    visits = [msgspec.json.decode(raw(visit), type=Visit) for visit in await redis.hvals(keys.visits)]
    return [visit for visit in visits if visit.prompt_id == prompt_id]


def _count_revisit(transaction: Transaction, trace: Trace, verdict: Verdict) -> None:
    if trace.last_verdict is not None:
        transaction.count(revisit_counter(trace.last_verdict, verdict), 1)


def _present(counts: Mapping[Stage, int]) -> dict[Stage, int]:
    return {stage: count for stage, count in counts.items() if count}
