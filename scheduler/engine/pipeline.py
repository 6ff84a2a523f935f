"""What is under way between a claim and the learner, and how much of it may be.

Owns: the count of open visits by phase, the survivors that wait for a slot, and the open groups. Never does I/O.
Invariant: slots are given so that every group given one is still fresh when its turn comes (core.staleness), so
committing + published + unapplied groups never exceed (batches ahead + 1) x batch size.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.staleness import (
    PassRate,
    careful_pilot_demand,
    free_slots,
    next_batch_version,
    pilot_demand,
    will_be_fresh,
)
from scheduler.state.groups import GroupEntry, GroupStatus


class Slot(StrEnum):
    """What a survivor that waits for a slot is told."""

    GRANTED = "granted"
    """Go ahead."""
    TOO_STALE = "too_stale"
    """Its pilots can no longer be consumed fresh."""
    NOT_NEEDED = "not_needed"
    """The run takes no more steps."""
    SURPLUS = "surplus"
    """There is none now, and its rule discards what finds none."""


@dataclass(slots=True, kw_only=True, eq=False)
class Survivor:
    """A visit that was judged worth a group and waits for a slot."""

    visit_id: str
    oldest_version: int | None
    """Of its pilots; None if it has none, so that it cannot become stale by waiting."""
    waits: bool = True
    """False takes a slot at once or none."""
    answer: asyncio.Future[Slot] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pipeline:
    """Counts and grants; every change wakes whoever waits for `changed`."""

    def __init__(
        self,
        *,
        batch_size: int,
        max_staleness: int,
        pilot_cap: int,
        batches_ahead: int | None = None,
        round_batches: int | None = None,
        max_steps: int | None = None,
        step: int = 0,
    ) -> None:
        self._batch_size = batch_size
        self._max_staleness = max_staleness
        self._batches_ahead = max_staleness if batches_ahead is None else batches_ahead
        self._round_batches = round_batches
        self._round_of = step
        """The step that the last round was begun for."""
        self._pilot_cap = pilot_cap
        self._max_steps = max_steps
        self.step = step
        """Last step that the learner applied."""
        self.policy_version = 0
        self.live_version = 0
        self.pass_rate = PassRate()
        self.num_visits = 0
        """Open visits, in whichever phase."""
        self.committing: dict[str, int | None] = {}
        """Oldest version of each visit that has a slot, by visit id."""
        self.held: list[Survivor] = []
        self.groups: dict[str, GroupEntry] = {}
        self.moment = 0
        """Grows with every change, so that a waiter misses none that came while it was busy."""
        self._waiters: set[asyncio.Future[None]] = set()

    def published(self) -> list[GroupEntry]:
        """Groups that the learner has not stepped on, in order of publication."""
        return [entry for entry in self.groups.values() if entry.status is GroupStatus.PUBLISHED]

    def staleness(self) -> Mapping[int, int]:
        """Groups that the learner has not stepped on, by how stale they are now."""
        return Counter(self.policy_version - entry.oldest_version for entry in self.published())

    @property
    def outstanding(self) -> int:
        """Committing + published + unapplied groups."""
        return len(self.committing) + len(self.published())

    @property
    def groups_left(self) -> int | None:
        """Groups that the remaining steps can use, those outstanding included; None is no limit."""
        return None if self._max_steps is None else max(0, self._max_steps - self.step) * self._batch_size

    @property
    def free(self) -> int:
        """Groups that may still be started with the live weights."""
        free = free_slots(self.outstanding, self._batch_size, self._batches_ahead, self._lag)
        return free if self.groups_left is None else max(0, min(free, self.groups_left - self.outstanding))

    @property
    def _lag(self) -> int:
        """Versions by which the fleet is behind the learner."""
        return self.policy_version - self.live_version

    @property
    def num_piloting(self) -> int:
        """Open visits that neither wait for a slot nor have one."""
        return self.num_visits - len(self.held) - len(self.committing)

    @property
    def is_in_round(self) -> bool:
        """Whether a round is under way: the next batch waits for the last of it."""
        return self._round_batches is not None and self.num_piloting > 0

    @property
    def claims_wanted(self) -> int:
        """Prompts to claim now: a round if one is due, else so many that about as many survive as there are slots."""
        if self._round_batches is None:
            return self._claims_on_demand
        return self._round_batches * self._batch_size if self._is_round_due else 0

    @property
    def _is_round_due(self) -> bool:
        """Every batch that may be sampled begins with a round, and gets more of them until it has its groups."""
        if self.num_piloting:
            return False
        horizon = self.step + 1 + self._batches_ahead - self._lag
        if self._max_steps is not None:
            horizon = min(horizon, self._max_steps)
        return self._round_of < horizon or self.free > len(self.held)

    @property
    def is_batch_out(self) -> bool:
        """Whether the learner has the batch of its next step."""
        return any(entry.step == self.step + 1 for entry in self.published())

    @property
    def next_batch_version(self) -> int:
        """The policy version at which a group that is not published yet can be consumed, at the earliest."""
        return next_batch_version(self.policy_version, is_batch_out=self.is_batch_out)

    def round_begun(self) -> None:
        """The claims wanted were made."""
        self._round_of = max(self._round_of + 1, self.step + 1)

    @property
    def _claims_on_demand(self) -> int:
        """While the learner has a batch, what is sampled is for a later one: then rather fewer than too many, because
        what survives beyond the slots may be wasted.
        """
        free, rate = self.free - len(self.held), self.pass_rate.rate
        if self.is_batch_out:
            demand = careful_pilot_demand(free, rate, self._pilot_cap)
        else:
            demand = pilot_demand(self.free, len(self.held), rate, self._pilot_cap)
        return max(0, demand - self.num_piloting)

    def passed(self, passed: bool) -> None:
        """A visit was judged worth a group, or not."""
        self.pass_rate = self.pass_rate.observed(passed)

    async def slot(
        self,
        visit_id: str,
        oldest_version: int | None,
        *,
        waits: bool = True,
        before_waiting: Callable[[], Awaitable[None]] | None = None,
    ) -> Slot:
        """Wait for a slot, or for the word that there will be none; without waiting, that is said at once.

        `before_waiting` is seen to where the answer is not there at once.
        """
        survivor = Survivor(visit_id=visit_id, oldest_version=oldest_version, waits=waits)
        self.held.append(survivor)
        self.grant()
        try:
            if before_waiting is not None and not survivor.answer.done():
                await before_waiting()
            return await survivor.answer
        finally:
            if survivor in self.held:
                self.held.remove(survivor)

    def grant(self) -> None:
        """Give free slots to survivors, oldest version first, and expire those that can no longer be consumed fresh."""
        newest_first = self.live_version + 1
        for survivor in sorted(self.held, key=lambda held: (held.oldest_version or newest_first, held.visit_id)):
            if self.groups_left == 0:
                self._answer(survivor, Slot.NOT_NEEDED)
            elif self.free > 0 and self._in_time(survivor):
                self._answer(survivor, Slot.GRANTED)
            elif not survivor.waits:
                self._answer(survivor, Slot.SURPLUS)
            elif not self._in_time(survivor):
                self._answer(survivor, Slot.TOO_STALE)
        self.wake()

    def _in_time(self, survivor: Survivor) -> bool:
        if survivor.oldest_version is None:
            return True
        return will_be_fresh(
            survivor.oldest_version, self.policy_version, self.outstanding, self._batch_size, self._max_staleness
        )

    def _answer(self, survivor: Survivor, answer: Slot) -> None:
        self.held.remove(survivor)
        if survivor.answer.done():
            return
        if answer is Slot.GRANTED:
            self.committing[survivor.visit_id] = survivor.oldest_version
        survivor.answer.set_result(answer)

    def ended(self, visit_id: str) -> None:
        """A visit is over; its slot, if it had one, is free unless a group took its place."""
        self.num_visits -= 1
        self.committing.pop(visit_id, None)
        self.grant()

    def published_group(self, entry: GroupEntry) -> None:
        """A visit became a group, which takes over its slot."""
        self.committing.pop(entry.group_id, None)
        self.change(put=[entry])

    def change(
        self,
        *,
        drop: Iterable[str] = (),
        put: Iterable[GroupEntry] = (),
        policy_version: int | None = None,
        step: int | None = None,
    ) -> None:
        """Forget groups that have ended, update or add others, note where the learner is: all of it at once.

        In steps, slots would be granted against numbers that never were: groups stepped on, their version not counted.
        """
        for group_id in drop:
            self.groups.pop(group_id, None)
        self.groups.update({entry.group_id: entry for entry in put})
        self.policy_version = self.policy_version if policy_version is None else policy_version
        self.step = self.step if step is None else step
        self.grant()

    def set_live(self, version: int) -> None:
        """The fleet samples with this version from now on."""
        self.live_version = version
        self.grant()

    def wake(self) -> None:
        """Let every waiter look again."""
        self.moment += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, since: int, *, timeout_s: float) -> None:
        """Return once `moment` is past `since`, or after `timeout_s`."""
        if self.moment > since:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return
        finally:
            self._waiters.discard(waiter)
