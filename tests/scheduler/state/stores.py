"""The stores of one run, and what must hold of their books at any moment.

Owns: opening a run's stores under a lease, short cuts through a visit's life, and the audit. Invariant of the audit:
the ledger's counters say exactly what the open visits and the open groups say.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.errors import BudgetExhausted, Conflict
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Ledger, OpenState, Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import Group, Rollout, Sampling, Stage, Verdict
from scheduler.state.evaluations import EvaluationStore
from scheduler.state.groups import Attachment, GroupEntry, GroupStatus, GroupStore
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.row import Event, PassedRow, Row
from scheduler.state.runs import RunStore
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from scheduler.state.versions import VersionStore, WeightRecord
from scheduler.state.visit import Change, Landing, Trace, Visit
from scheduler.state.visits import VisitStore
from scheduler.state.wire import text
from tests.factories import make_rollout

MAX_NEW_TOKENS = 10
SAMPLED = (Stage.PILOT, Stage.COMMIT)


def make_row(*, visits: int = 1, next_version: int | None = 0, lost_visits: int = 0) -> Row:
    """The row of a prompt that was visited so many times."""
    evidence = Evidence.fresh(Prior(), version=0)
    for _ in range(visits):
        evidence = evidence.judged(Verdict.SKIP, "reason")
    return Row(evidence=evidence, next_version=next_version, lost_visits=lost_visits)


def make_config(*, pool: str = "sums") -> RunConfig:
    """A small run."""
    return RunConfig(
        pool=pool,
        allocator="pilot_commit",
        pilots=2,
        commits=2,
        batch_size=2,
        max_staleness=1,
        sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS),
    )


def make_event(what: str = "skip", *, reason: str = "reason", at: float = 1.0) -> Event:
    """One entry of a prompt's history."""
    return Event(at=at, version=1, what=what, reason=reason)


def make_weights(version: int, *, step: int = 0) -> WeightRecord:
    """A version that its learner has just announced."""
    return WeightRecord(version=version, path=f"/weights/{version}", digest=f"d{version}", step=step, announced_at=1.0)


def make_rollouts(count: int, *, stage: Stage = Stage.PILOT, tokens: int = 2, version: int = 1) -> tuple[Rollout, ...]:
    """Rollouts, right and wrong by turns, of so many tokens each."""
    return tuple(
        make_rollout(
            reward=float(index % 2),
            rid=f"{stage}-{index}",
            stage=stage,
            token_ids=tuple(range(tokens)),
            version=version,
        )
        for index in range(count)
    )


def make_entry(group: Group, *, order: int = 1) -> GroupEntry:
    """The entry of a group that was just completed."""
    correct = sum(rollout.correct for rollout in group.rollouts)
    return GroupEntry(
        group_id=group.group_id,
        prompt_id=group.prompt_id,
        order=order,
        oldest_version=group.oldest_version,
        success_rate=correct / len(group.rollouts),
        reward_std=0.5,
        counts=dict(Counter(rollout.stage for rollout in group.rollouts)),
    )


@dataclass(slots=True, kw_only=True)
class Stores:
    """Everything that knows one run, under one lease."""

    redis: Redis
    keys: RunKeys
    lease: Lease
    transactor: Transactor
    runs: RunStore
    table: Table
    visits: VisitStore
    groups: GroupStore
    versions: VersionStore
    evaluations: EvaluationStore
    orders: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def open(
        cls,
        redis: Redis,
        run_id: str = "run",
        *,
        budget: Budget | None = None,
        holder: str = "scheduler",
        seed: int = 0,
    ) -> "Stores":
        """Take the run's lease and open its stores."""
        budget = budget or Budget()
        keys = RunKeys(run_id)
        lease = await Lease.acquire(redis, keys, holder=holder, ttl_s=60.0)
        transactor, table = Transactor(redis, keys, lease.fence), Table(redis, keys, seed=seed)
        return cls(
            redis=redis,
            keys=keys,
            lease=lease,
            transactor=transactor,
            runs=RunStore(redis),
            table=table,
            visits=VisitStore(redis, transactor, table, budget=budget, max_new_tokens=MAX_NEW_TOKENS),
            groups=GroupStore(redis, transactor, table),
            versions=VersionStore(redis, transactor),
            evaluations=EvaluationStore(redis, transactor, cap=budget.eval_rollouts),
        )

    async def succeeded_by(self, holder: str = "successor", *, budget: Budget | None = None) -> "Stores":
        """The stores of a scheduler that took over after this one's lease had run out."""
        await self.redis.delete(self.keys.lease_alive)
        return await Stores.open(self.redis, self.keys.run_id, budget=budget, holder=holder)

    # Short cuts.

    async def seed(self, *prompt_ids: str) -> None:
        """Make prompts claimable."""
        await self.table.seed_prompts(self.transactor, prompt_ids, len(prompt_ids))

    async def claim(self, prompt_id: str = "p", *, rollouts: int = 4) -> Visit:
        """Open a visit to a claimable prompt; raises Conflict if it is none, BudgetExhausted if there is no room."""
        claimed = await self.visits.claim([self.new_visit(prompt_id, rollouts=rollouts)])
        if claimed.is_out_of_budget:
            raise BudgetExhausted(f"no room for {rollouts} rollouts")
        if claimed.refused:
            raise Conflict(f"prompt {prompt_id} is not claimable")
        (visit,) = claimed.visits
        return visit

    def new_visit(self, prompt_id: str, *, rollouts: int = 4) -> Visit:
        """A visit that is not open yet."""
        return Visit(visit_id=f"visit-{prompt_id}", prompt_id=prompt_id, fence=self.lease.fence, reserved=rollouts)

    async def pass_over(self, *prompt_ids: str, row: Row | None = None, event: Event | None = None) -> None:
        """Judge prompts by their history alone."""
        row, event = row or make_row(), event or make_event("passed_over")
        passed = [PassedRow(prompt_id=name, row=row, verdict=Verdict.SKIP, event=event) for name in prompt_ids]
        await self.table.pass_over(self.transactor, passed)

    async def ask(self, visit: Visit, stage: Stage, count: int, held: Sequence[Rollout] = ()) -> Visit:
        """Launch `count` attempts that all come back as rollouts; `held` are those the visit had before."""
        visit = await self.visits.launch(visit, stage, count)
        rollouts = make_rollouts(count, stage=stage)
        return await self.visits.land(visit, Landing(stage=stage, rollouts=rollouts), held=(*held, *rollouts))

    async def settle(
        self,
        visit: Visit | Change,
        outcome: Outcome = Outcome.SKIPPED,
        *,
        what: str = "skip",
        reason: str = "too_easy",
        state: PromptState = PromptState.READY,
        row: Row | None = None,
        last_verdict: Verdict | None = None,
    ) -> None:
        """End a visit without a group."""
        event, trace = make_event(what, reason=reason), Trace(last_verdict=last_verdict)
        await self.visits.settle(visit, outcome, row=row or make_row(), state=state, event=event, trace=trace)

    async def publish(
        self, move: Visit | Change, *, version: int = 1, pilots: int | None = None, commits: int | None = None
    ) -> GroupEntry:
        """End a visit with the group of what it holds, or of what the caller says it holds."""
        visit = move.visit if isinstance(move, Change) else move
        num_pilots = visit.held.get(Stage.PILOT, 0) if pilots is None else pilots
        num_commits = visit.held.get(Stage.COMMIT, 0) if commits is None else commits
        group = Group(
            group_id=f"group-{visit.visit_id}",
            prompt_id=visit.prompt_id,
            prompt_ids=(1, 2),
            rollouts=make_rollouts(num_pilots, version=version)
            + make_rollouts(num_commits, stage=Stage.COMMIT, version=version),
        )
        entry = make_entry(group, order=next(self.orders))
        await self.visits.publish(move, group, entry, row=make_row(), event=make_event("published"))
        return entry

    async def make_group(self, prompt_id: str, *, version: int = 1) -> GroupEntry:
        """A whole visit that ends with a published group of two pilots and two commits."""
        await self.seed(prompt_id)
        visit = await self.ask(await self.claim(prompt_id), Stage.PILOT, 2)
        visit = await self.ask(visit, Stage.COMMIT, 2, held=make_rollouts(2))
        return await self.publish(visit, version=version)

    async def attach(self, incarnation: str = "learner", *, step: int = 0) -> None:
        """A first learner, with nothing to sort out."""
        await self.groups.attach([], Attachment(incarnation=incarnation, step=step), now=1.0, version=0)

    # What must hold.

    async def audit(self) -> Ledger:
        """The ledger, once it agrees with the open visits and groups; raises AssertionError otherwise."""
        counters = await self.runs.counters(self.keys.run_id)
        ledger = Ledger.from_counters(counters)
        assert all(count >= 0 for count in counters.values()), counters
        assert ledger.is_balanced, counters
        opened = await self.visits.open_visits()
        visits = [visit for visit, _ in opened]
        entries = await self.groups.entries()
        in_flight = sum(sum(visit.in_flight.values()) for visit in visits)
        reserved = sum(visit.reserved for visit in visits)
        assert ledger.reserved_rollouts == reserved
        assert ledger.reserved_tokens == (reserved + in_flight) * MAX_NEW_TOKENS
        for stage in SAMPLED:
            line = ledger.stages[stage]
            assert line.open == {
                OpenState.IN_FLIGHT: sum(visit.in_flight.get(stage, 0) for visit in visits),
                OpenState.HELD: sum(visit.held.get(stage, 0) for visit in visits),
                OpenState.PUBLISHED: _counted(entries, GroupStatus.PUBLISHED, stage),
                OpenState.APPLIED: _counted(entries, GroupStatus.APPLIED, stage),
            }
        assert ledger.spent_rollouts == sum(ledger.stages[stage].attempts for stage in SAMPLED)
        assert ledger.spent_tokens == sum(ledger.stages[stage].tokens for stage in SAMPLED)
        for visit, held in opened:
            assert Counter(rollout.stage for rollout in held) == Counter(
                {stage: count for stage, count in visit.held.items() if count}
            )
        payloads = {text(key) for key in await self.redis.hkeys(self.keys.groups)}
        assert payloads == {entry.group_id for entry in entries}
        ended = sum(count for name, count in counters.items() if name.startswith(("verdict:", "passed_over:")))
        assert counters.get("considered", 0) == ended + len(visits)
        return ledger

    async def places(self) -> Counter[str]:
        """How often each prompt is in some place: ready, waiting, quarantined or an open visit."""
        found: Counter[str] = Counter()
        ready = [self.table.ready(pool) for pool in self.table.mixture.names]
        for key in (*ready, self.keys.waiting, self.keys.quarantined):
            found.update(text(member) for member in await self.redis.zrange(key, 0, -1))
        found.update(visit.prompt_id for visit, _ in await self.visits.open_visits())
        return found


def _counted(entries: Iterable[GroupEntry], status: GroupStatus, stage: Stage) -> int:
    return sum(entry.counts.get(stage, 0) for entry in entries if entry.status is status)


async def snapshot(redis: Redis) -> dict[bytes, bytes | None]:
    """Every key of the database with its value, byte for byte."""
    return {key: await redis.dump(key) async for key in redis.scan_iter()}


def open_money(ledger: Ledger) -> tuple[int, int]:
    """What is reserved, in rollouts and tokens."""
    return ledger.reserved_rollouts, ledger.reserved_tokens


def spent(ledger: Ledger) -> tuple[int, int]:
    """What was spent, in rollouts and tokens."""
    return ledger.spent_rollouts, ledger.spent_tokens
