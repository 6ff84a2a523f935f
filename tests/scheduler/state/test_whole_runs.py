"""Whole runs in any order of events: the books balance and no prompt is lost, after every single step."""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.errors import BudgetExhausted
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Rollout, Stage, Verdict
from scheduler.state.groups import Attachment, GroupEntry, GroupStatus
from scheduler.state.visits import Landing, Visit
from tests.scheduler.state.stores import MAX_NEW_TOKENS, Stores, make_event, make_rollouts, make_row, make_weights

Item = TypeVar("Item")
BUDGET = Budget(rollouts=60, tokens=500)


@dataclass(slots=True, kw_only=True)
class Walk:
    """A run driven at random. Every step that cannot be taken now takes none."""

    stores: Stores
    seeded: list[str] = field(default_factory=list)
    step: int = 0
    version: int = 0
    numbers: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]  # not generic at run time
    learner: str = ""

    async def opened(self, choice: int) -> tuple[Visit, tuple[Rollout, ...]] | None:
        return pick(sorted(await self.stores.visits.open_visits(), key=lambda item: item[0].visit_id), choice)

    async def groups(self, status: GroupStatus) -> list[GroupEntry]:
        return [entry for entry in await self.stores.groups.entries() if entry.status is status]

    # Prompts.

    async def seed(self, choice: int) -> None:
        new = [f"p{len(self.seeded) + index}" for index in range(1 + choice % 3)]
        self.seeded += new
        await self.stores.table.seed_prompts(self.stores.transactor, new, len(self.seeded))

    async def pass_over(self, choice: int) -> None:
        prompt_id = pick(await self.stores.table.sample(5), choice)
        if prompt_id is not None:
            await self.stores.table.pass_over(
                self.stores.transactor,
                prompt_id,
                make_row(visits=2),
                PromptState.READY,
                Verdict.SKIP,
                make_event("passed_over"),
            )

    async def return_due(self, choice: int) -> None:
        await self.stores.table.return_due(self.stores.transactor, choice % 6)

    async def return_earliest(self, choice: int) -> None:
        await self.stores.table.return_earliest(self.stores.transactor, 1 + choice % 2)

    async def reinstate(self, choice: int) -> None:
        keys = self.stores.keys
        away = [*await self.stores.redis.zrange(keys.waiting, 0, -1)]
        away += await self.stores.redis.zrange(keys.quarantined, 0, -1)
        prompt_id = pick(away, choice)
        if prompt_id is not None:
            await self.stores.table.reinstate(self.stores.transactor, prompt_id.decode(), now=1.0, version=1)

    # Visits.

    async def claim(self, choice: int) -> None:
        prompt_id = pick(await self.stores.table.sample(5), choice)
        if prompt_id is not None:
            await self.stores.visits.claim(
                visit_id=f"v{next(self.numbers):04}",
                prompt_id=prompt_id,
                fence=self.stores.lease.fence,
                rollouts=2 + choice % 4,
            )

    async def extend(self, choice: int) -> None:
        opened = await self.opened(choice)
        if opened is not None:
            await self.stores.visits.extend(opened[0], 1 + choice % 3)

    async def launch(self, choice: int) -> None:
        opened = await self.opened(choice)
        if opened is not None and opened[0].reserved:
            stage = (Stage.PILOT, Stage.COMMIT)[choice % 2]
            await self.stores.visits.launch(opened[0], stage, 1 + choice % opened[0].reserved)

    async def land(self, choice: int) -> None:
        opened = await self.opened(choice)
        stage = (Stage.PILOT, Stage.COMMIT)[choice % 2]
        if opened is None or not opened[0].in_flight.get(stage):
            return
        visit, held = opened
        flying = visit.in_flight[stage]
        good = choice % (flying + 1)
        rollouts = make_rollouts(good, stage=stage, tokens=choice % (MAX_NEW_TOKENS + 1))
        bad = {"failed": flying - good, "failed_tokens": choice % 3} if choice % 3 else {"lost": flying - good}
        if "failed" in bad and not bad["failed"]:
            bad = {}
        landing = replace(Landing(stage=stage, rollouts=rollouts, prompt_tokens=choice % 7), **bad)
        await self.stores.visits.land(visit, landing, held=held + rollouts)

    async def settle(self, choice: int) -> None:
        opened = await self.opened(choice)
        if opened is None or any(opened[0].in_flight.values()):
            return
        outcome, what, state, returns = (
            (Outcome.SKIPPED, "skip", PromptState.READY, 0),
            (Outcome.DEFERRED, "defer", PromptState.WAITING, choice % 6),
            (Outcome.EVICTED, "evict", PromptState.WAITING, None),
            (Outcome.INCOMPLETE, "quarantined", PromptState.QUARANTINED, None),
        )[choice % 4]
        row = make_row(visits=1 + choice % 3, next_version=returns)
        await self.stores.settle(opened[0], outcome, what=what, state=state, row=row)

    async def publish(self, choice: int) -> None:
        opened = await self.opened(choice)
        if opened is not None and opened[1] and not any(opened[0].in_flight.values()):
            await self.stores.publish(opened[0])

    async def cancel(self, choice: int) -> None:
        opened = await self.opened(choice)
        if opened is None:
            return
        visit = opened[0]
        for stage, count in visit.in_flight.items():
            visit = await self.stores.visits.land(visit, Landing(stage=stage, cancelled=count), held=())
        await self.stores.settle(visit, Outcome.CANCELLED, what="cancelled")

    async def take_over(self, choice: int) -> None:
        self.stores = await self.stores.succeeded_by(f"scheduler-{next(self.numbers)}", budget=BUDGET)
        for visit, _ in await self.stores.visits.open_visits():
            await self.stores.visits.resume(visit, fence=self.stores.lease.fence)

    # The learner.

    async def attach(self, choice: int) -> None:
        entries = await self.stores.groups.entries()
        applied = [entry for entry in entries if entry.status is GroupStatus.APPLIED]
        saved = choice % (self.step + 1)
        parts: dict[str, list[str]] = {"trained": [], "redelivered": [], "rolled_back": [], "expired": []}
        for index, entry in enumerate(applied):
            late = "redelivered" if index % 2 else "rolled_back"
            parts["trained" if entry.step is not None and entry.step <= saved else late].append(entry.group_id)
        unreported = [entry for entry in entries if entry.status is GroupStatus.PUBLISHED and entry.step is not None]
        if choice % 2 and unreported:
            # Its checkpoint holds the step that was in its hands, and says that the first of its groups was refused.
            saved = self.step + 1
            parts = {"trained": [entry.group_id for entry in applied + unreported[1:]], "redelivered": []}
            parts |= {"rolled_back": [], "expired": [unreported[0].group_id]}
        self.learner, self.step = f"learner-{next(self.numbers)}", saved
        attachment = Attachment(incarnation=self.learner, step=saved, **parts)
        await self.stores.groups.attach(entries, attachment, now=1.0, version=self.version)

    async def batch(self, choice: int) -> None:
        published = await self.groups(GroupStatus.PUBLISHED)
        if published and self.learner and not [entry for entry in published if entry.step is not None]:
            await self.stores.groups.form_batch(self.step + 1, published[: 1 + choice % 2])

    async def applied(self, choice: int) -> None:
        batch = [entry for entry in await self.groups(GroupStatus.PUBLISHED) if entry.step is not None]
        if not batch:
            return
        refused = {batch[0].group_id: 3} if choice % 3 == 0 else {}
        self.step, self.version = self.step + 1, self.version + 1
        await self.stores.groups.applied(
            batch,
            refused,
            incarnation=self.learner,
            step=self.step,
            weights=make_weights(self.version, step=self.step),
            now=1.0,
        )

    async def checkpoint(self, choice: int) -> None:
        saved = await self.groups(GroupStatus.APPLIED)
        if self.learner:
            await self.stores.groups.checkpointed(saved, incarnation=self.learner, step=self.step, now=1.0)

    async def expire(self, choice: int) -> None:
        free = [entry for entry in await self.groups(GroupStatus.PUBLISHED) if entry.step is None]
        await self.stores.groups.drop(free[: choice % 2], Outcome.EXPIRED, now=1.0, version=self.version)

    # What must hold.

    async def check(self) -> None:
        ledger = await self.stores.audit()
        assert BUDGET.rollouts is not None
        assert BUDGET.tokens is not None
        assert ledger.spent_rollouts + ledger.reserved_rollouts <= BUDGET.rollouts
        assert ledger.spent_tokens + ledger.reserved_tokens <= BUDGET.tokens
        assert await self.stores.places() == Counter(self.seeded)
        assert int(await self.stores.redis.hget(self.stores.keys.meta, "version") or 0) == self.version


def pick(items: Sequence[Item], choice: int) -> Item | None:
    """One of the items, or None of none."""
    return items[choice % len(items)] if items else None


STEPS: tuple[Callable[[Walk, int], Awaitable[None]], ...] = (
    Walk.seed,
    Walk.pass_over,
    Walk.return_due,
    Walk.return_earliest,
    Walk.reinstate,
    # Twice what makes a run go on, so that a walk reaches the learner.
    *(Walk.claim, Walk.launch, Walk.land, Walk.publish) * 2,
    Walk.extend,
    Walk.settle,
    Walk.cancel,
    Walk.take_over,
    Walk.attach,
    Walk.batch,
    Walk.applied,
    Walk.checkpoint,
    Walk.expire,
)


async def walk(redis: Redis, steps: Sequence[tuple[int, int]]) -> Walk:
    """Take the steps one by one and check everything after each."""
    await redis.flushdb()
    walker = Walk(stores=await Stores.open(redis, budget=BUDGET))
    await walker.seed(2)
    for index, choice in steps:
        try:
            await STEPS[index](walker, choice)
        except BudgetExhausted:
            pass
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
    await walk(redis, steps)


async def test_a_long_run_keeps_the_books_balanced_and_ends_with_nothing_open(redis: Redis) -> None:
    import random

    chance = random.Random(7)
    steps = [(chance.randrange(len(STEPS)), chance.randrange(10**6)) for _ in range(600)]
    walker = await walk(redis, steps)
    while await walker.opened(0) is not None:
        await walker.cancel(0)
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
    assert {Outcome.TRAINED, Outcome.SKIPPED, Outcome.LOST, Outcome.FAILED, Outcome.CANCELLED} <= ended
    assert all(not any(line.open.values()) for line in ledger.stages.values())
