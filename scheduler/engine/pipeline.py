"""What is under way between a claim and the learner, and how much of it may be.

Owns: the count of open visits by phase, the survivors that wait for a slot, and the open groups. Never does I/O.
Invariant: slots are given so that every group given one is still fresh when its turn comes (core.staleness), so
committing + published + unapplied groups never exceed (max staleness + 1) x batch size.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.staleness import PassRate, careful_pilot_demand, free_slots, pilot_demand, will_be_fresh
from scheduler.state.groups import GroupEntry, GroupStatus


class Slot(StrEnum):
    """What a survivor that waits for a slot is told."""

    GRANTED = "granted"
    """Go ahead."""
    TOO_STALE = "too_stale"
    """Its pilots can no longer be consumed fresh."""
    NOT_NEEDED = "not_needed"
    """The run takes no more steps."""


@dataclass(slots=True, kw_only=True, eq=False)
class Survivor:
    """A visit that was judged worth a group and waits for a slot."""

    visit_id: str
    oldest_version: int | None
    """Of its pilots; None if it has none, so that it cannot become stale by waiting."""
    answer: asyncio.Future[Slot] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pipeline:
    """Counts and grants; every change wakes whoever waits for `changed`."""

    def __init__(
        self, *, batch_size: int, max_staleness: int, pilot_cap: int, max_steps: int | None = None, step: int = 0
    ) -> None:
        self._batch_size = batch_size
        self._max_staleness = max_staleness
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
        lag = self.policy_version - self.live_version
        free = free_slots(self.outstanding, self._batch_size, self._max_staleness, lag)
        return free if self.groups_left is None else max(0, min(free, self.groups_left - self.outstanding))

    @property
    def num_piloting(self) -> int:
        """Open visits that neither wait for a slot nor have one."""
        return self.num_visits - len(self.held) - len(self.committing)

    @property
    def claims_wanted(self) -> int:
        """Prompts to claim now, so that about as many survive as there are free slots.

        While the learner has a batch, what is sampled is for a later one: then rather fewer than too many, because what
        survives beyond the slots is wasted.
        """
        free, rate = self.free - len(self.held), self.pass_rate.rate
        if any(entry.step == self.step + 1 for entry in self.published()):
            demand = careful_pilot_demand(free, rate, self._pilot_cap)
        else:
            demand = pilot_demand(self.free, len(self.held), rate, self._pilot_cap)
        return max(0, demand - self.num_piloting)

    def passed(self, passed: bool) -> None:
        """A visit was judged worth a group, or not."""
        self.pass_rate = self.pass_rate.observed(passed)

    async def slot(self, visit_id: str, oldest_version: int | None) -> Slot:
        """Wait for a slot, or for the word that there will be none."""
        survivor = Survivor(visit_id=visit_id, oldest_version=oldest_version)
        self.held.append(survivor)
        self.grant()
        try:
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
            elif not self._in_time(survivor):
                self._answer(survivor, Slot.TOO_STALE)
            elif self.free > 0:
                self._answer(survivor, Slot.GRANTED)
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
