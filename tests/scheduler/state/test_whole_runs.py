"""Whole runs in any order of events: the books balance and no prompt is lost, after every single step."""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.core.budget import Budget, Cost
from scheduler.core.errors import BudgetExhausted
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Rollout, Stage
from scheduler.state.groups import Attachment, GroupEntry, GroupStatus
from scheduler.state.visit import Landing, Visit
from tests.scheduler.state.stores import MAX_NEW_TOKENS, Stores, make_rollouts, make_row, make_weights

Item = TypeVar("Item")
TIGHT = Budget(rollouts=60, tokens=500)
AMPLE = Budget(rollouts=900, tokens=6000)


@dataclass(slots=True, kw_only=True)
class Walk:
    """A run driven at random. Every step that cannot be taken now takes none."""

    stores: Stores
    budget: Budget
    seeded: list[str] = field(default_factory=list)
    step: int = 0
    version: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    learner: str = ""

    async def opened(self, chance: Random) -> tuple[Visit, tuple[Rollout, ...]] | None:
        return pick(sorted(await self.stores.visits.open_visits(), key=lambda item: item[0].visit_id), chance)

    async def idle(self, chance: Random) -> tuple[Visit, tuple[Rollout, ...]] | None:
        """A visit with nothing in flight."""
        opened = sorted(await self.stores.visits.open_visits(), key=lambda item: item[0].visit_id)
        return pick([item for item in opened if not any(item[0].in_flight.values())], chance)

    async def groups(self, status: GroupStatus) -> list[GroupEntry]:
        return [entry for entry in await self.stores.groups.entries() if entry.status is status]

    # Prompts.

    async def seed(self, chance: Random) -> None:
        new = [f"p{len(self.seeded) + index}" for index in range(chance.randint(1, 3))]
        self.seeded += new
        await self.stores.table.seed_prompts(self.stores.transactor, new, len(self.seeded))

    async def pass_over(self, chance: Random) -> None:
        await self.stores.pass_over(*await self.stores.table.sample(chance.randint(1, 3)), row=make_row(visits=2))

    async def return_due(self, chance: Random) -> None:
        await self.stores.table.return_due(self.stores.transactor, chance.randrange(6))

    async def return_earliest(self, chance: Random) -> None:
        await self.stores.table.return_earliest(self.stores.transactor, chance.randint(1, 2))

    async def reinstate(self, chance: Random) -> None:
        keys = self.stores.keys
        away = [*await self.stores.redis.zrange(keys.waiting, 0, -1)]
        away += await self.stores.redis.zrange(keys.quarantined, 0, -1)
        prompt_id = pick(away, chance)
        if prompt_id is not None:
            await self.stores.table.reinstate(self.stores.transactor, prompt_id.decode(), now=1.0, version=1)

    # Visits.

    async def claim(self, chance: Random) -> None:
        prompt_ids = await self.stores.table.sample(chance.randint(1, 3))
        visits = [
            Visit(
                visit_id=f"v{next(self.numbers):04}",
                prompt_id=prompt_id,
                fence=self.stores.lease.fence,
                reserved=chance.randint(2, 5),
            )
            for prompt_id in prompt_ids
        ]
        claimed = await self.stores.visits.claim(visits)
        if visits and claimed.is_out_of_budget and not claimed.visits:
            raise BudgetExhausted("not even one fits")

    async def extend(self, chance: Random) -> None:
        opened = await self.opened(chance)
        if opened is not None:
            await self.stores.visits.extend(opened[0], chance.randint(1, 3))

    async def launch(self, chance: Random) -> None:
        opened = await self.opened(chance)
        if opened is not None and opened[0].reserved:
            stage = chance.choice((Stage.PILOT, Stage.COMMIT))
            await self.stores.visits.launch(opened[0], stage, chance.randint(1, opened[0].reserved))

    async def land(self, chance: Random) -> None:
        opened = await self.opened(chance)
        stage = pick([stage for stage, count in opened[0].in_flight.items() if count], chance) if opened else None
        if opened is None or stage is None:
            return
        visit, held = opened
        flying = visit.in_flight[stage]
        good = chance.randint(0, flying)
        rollouts = make_rollouts(good, stage=stage, tokens=chance.randint(0, MAX_NEW_TOKENS))
        landing = Landing(stage=stage, rollouts=rollouts, prompt_tokens=chance.randrange(7))
        ends = chance.random()
        if ends < 0.4:
            landing = replace(landing, lost=flying - good)
        elif ends < 0.6:
            cut = chance.randint(0, flying - good)
            landing = replace(landing, cut=cut, expired=flying - good - cut, recalled_tokens=flying - good)
        else:
            landing = replace(landing, failed=flying - good, failed_tokens=chance.randint(0, flying - good))
        await self.stores.visits.land(visit, landing, held=held + rollouts)

    async def settle(self, chance: Random) -> None:
        opened = await self.idle(chance)
        if opened is None:
            return
        outcome, what, state, returns = (
            (Outcome.SKIPPED, "skip", PromptState.READY, 0),
            (Outcome.DEFERRED, "defer", PromptState.WAITING, chance.randrange(6)),
            (Outcome.EVICTED, "evict", PromptState.WAITING, None),
            (Outcome.INCOMPLETE, "quarantined", PromptState.QUARANTINED, None),
        )[chance.randrange(4)]
        row = make_row(visits=chance.randint(1, 3), next_version=returns)
        await self.stores.settle(opened[0], outcome, what=what, state=state, row=row)

    async def publish(self, chance: Random) -> None:
        opened = await self.idle(chance)
        if opened is not None and opened[1]:
            await self.stores.publish(opened[0])

    async def cancel(self, chance: Random) -> None:
        opened = await self.opened(chance)
        if opened is None:
            return
        visit = opened[0]
        for stage, count in visit.in_flight.items():
            visit = await self.stores.visits.land(visit, Landing(stage=stage, cancelled=count), held=())
        await self.stores.settle(visit, Outcome.CANCELLED, what="cancelled")

    async def take_over(self, chance: Random) -> None:
        self.stores = await self.stores.succeeded_by(f"scheduler-{next(self.numbers)}", budget=self.budget)
        for visit, _ in await self.stores.visits.open_visits():
            await self.stores.visits.resume(visit, fence=self.stores.lease.fence)

    # The learner.

    async def attach(self, chance: Random) -> None:
        entries = await self.stores.groups.entries()
        applied = [entry for entry in entries if entry.status is GroupStatus.APPLIED]
        saved = chance.randint(0, self.step)
        parts: dict[str, list[str]] = {"trained": [], "redelivered": [], "rolled_back": [], "expired": []}
        for index, entry in enumerate(applied):
            late = "redelivered" if index % 2 else "rolled_back"
            parts["trained" if entry.step is not None and entry.step <= saved else late].append(entry.group_id)
        unreported = [entry for entry in entries if entry.status is GroupStatus.PUBLISHED and entry.step is not None]
        if unreported and chance.random() < 0.5:
            # Its checkpoint holds the step that was in its hands, and says that the first of its groups was refused.
            saved = self.step + 1
            parts = {"trained": [entry.group_id for entry in applied + unreported[1:]], "redelivered": []}
            parts |= {"rolled_back": [], "expired": [unreported[0].group_id]}
        self.learner, self.step = f"learner-{next(self.numbers)}", saved
        attachment = Attachment(incarnation=self.learner, step=saved, **parts)
        await self.stores.groups.attach(entries, attachment, now=1.0, version=self.version)

    async def batch(self, chance: Random) -> None:
        published = await self.groups(GroupStatus.PUBLISHED)
        if published and self.learner and not [entry for entry in published if entry.step is not None]:
            await self.stores.groups.form_batch(self.step + 1, published[: chance.randint(1, 2)])

    async def applied(self, chance: Random) -> None:
        batch = [entry for entry in await self.groups(GroupStatus.PUBLISHED) if entry.step is not None]
        if not batch:
            return
        refused = {batch[0].group_id: 3} if chance.random() < 0.3 else {}
        self.step, self.version = self.step + 1, self.version + 1
        await self.stores.groups.applied(
            batch,
            refused,
            incarnation=self.learner,
            step=self.step,
            weights=make_weights(self.version, step=self.step),
            now=1.0,
        )

    async def checkpoint(self, chance: Random) -> None:
        saved = await self.groups(GroupStatus.APPLIED)
        if self.learner:
            await self.stores.groups.checkpointed(saved, incarnation=self.learner, step=self.step, now=1.0)

    async def expire(self, chance: Random) -> None:
        free = [entry for entry in await self.groups(GroupStatus.PUBLISHED) if entry.step is None]
        await self.stores.groups.drop(free[: chance.randint(0, 1)], Outcome.EXPIRED, now=1.0, version=self.version)

    # What must hold.

    async def check(self) -> None:
        ledger = await self.stores.audit()
        assert self.budget.fits(ledger, Cost(rollouts=0, tokens=0))
        assert await self.stores.places() == Counter(self.seeded)
        assert int(await self.stores.redis.hget(self.stores.keys.meta, "version") or 0) == self.version


def pick(items: Sequence[Item], chance: Random) -> Item | None:
    """One of the items, or None of none."""
    return chance.choice(items) if items else None


STEPS: tuple[Callable[[Walk, Random], Awaitable[None]], ...] = (
    Walk.seed,
    Walk.pass_over,
    Walk.return_due,
    Walk.return_earliest,
    Walk.reinstate,
    # What makes a run go on comes more often than what ends it, so that a walk reaches the learner.
    *(Walk.claim,) * 4,
    *(Walk.launch, Walk.land) * 7,
    *(Walk.publish, Walk.batch, Walk.applied) * 3,
    Walk.extend,
    *(Walk.settle,) * 2,
    Walk.cancel,
    Walk.take_over,
    Walk.attach,
    Walk.checkpoint,
    Walk.expire,
)


async def walk(redis: Redis, steps: Sequence[tuple[int, int]], budget: Budget) -> Walk:
    """Take the steps one by one and check everything after each."""
    await redis.flushdb()
    walker = Walk(stores=await Stores.open(redis, budget=budget), budget=budget)
    await walker.seed(Random(2))
    for index, choice in steps:
        with suppress(BudgetExhausted):
            await STEPS[index](walker, Random(choice))
        await walker.check()
    return walker


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 10**6)),
        min_size=20,
        max_size=60,
    )
)
async def test_any_order_of_events_keeps_the_books_balanced_and_every_prompt_in_exactly_one_place(
    redis: Redis, steps: list[tuple[int, int]]
) -> None:
    await walk(redis, steps, TIGHT)


async def test_a_long_run_keeps_the_books_balanced_and_ends_with_nothing_open(redis: Redis) -> None:
    chance = Random(1)
    steps = [(chance.randrange(len(STEPS)), chance.randrange(10**6)) for _ in range(1200)]
    walker = await walk(redis, steps, AMPLE)
    while await walker.opened(Random(0)) is not None:
        await walker.cancel(Random(0))
        await walker.check()
    stores = walker.stores
    await stores.groups.drop(
        await walker.groups(GroupStatus.PUBLISHED), Outcome.CANCELLED, now=1.0, version=walker.version
    )
    await stores.groups.drop(
        await walker.groups(GroupStatus.APPLIED), Outcome.ROLLED_BACK, now=1.0, version=walker.version
    )
    ledger = await stores.audit()
    assert (ledger.reserved_rollouts, ledger.reserved_tokens) == (0, 0)
    ended = {outcome for line in ledger.stages.values() for outcome, count in line.outcomes.items() if count}
    # The walk has been everywhere: only a batch's surplus and evaluation are no part of it.
    assert ended == set(Outcome) - {Outcome.SURPLUS, Outcome.EVALUATED}
    assert all(not any(line.open.values()) for line in ledger.stages.values())
