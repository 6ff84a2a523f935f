"""Batches: which finished groups a training step gets.

Owns: composing a batch, and ending groups that no batch will take. Never speaks to a learner. Invariants: a group is in
one batch; a batch is composed of fresh groups, oldest versions first in line, and leaves none behind that is then too
stale unless the patience for those under way is used up.

Its caller lets one call in at a time: a choice is made between reads and writes.
"""

import time
from collections.abc import Collection, Sequence

import structlog

from scheduler.core.allocators.interface import ReadyGroup
from scheduler.core.ledger import Outcome
from scheduler.core.run import RunConfig
from scheduler.core.staleness import all_will_be_fresh, is_fresh
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.state.groups import GroupEntry, GroupStore

log = structlog.get_logger(__name__)


class Batches:
    """Composes the batches of one run."""

    def __init__(
        self,
        *,
        run_id: str,
        config: RunConfig,
        rule: RuleInForce,
        pipeline: Pipeline,
        groups: GroupStore,
        patience_s: float,
    ) -> None:
        self._run_id = run_id
        self._config = config
        self._rule = rule
        self._pipeline = pipeline
        self._groups = groups
        self._patience_s = patience_s
        self._offered: set[str] = set()
        self.patient_until: float | None = None
        """Until then a full batch waits for older groups under way; None if it does not."""
        self.may_be_short = False
        """Nothing more will be published for now: what there is may make a smaller batch."""

    def formed(self, step: int) -> list[GroupEntry]:
        """The batch of a step; empty while there is none."""
        return [entry for entry in self._pipeline.published() if entry.step == step]

    async def compose(self, step: int) -> list[GroupEntry]:
        """Choose the batch of a step, or nothing yet."""
        await self._expire()
        ready = self._pipeline.published()
        need = self._config.batch_size
        if self._pipeline.is_in_round or (len(ready) < need and not (self.may_be_short and ready)):
            self.patient_until = None
            return []
        selection = self._rule.allocator.select(
            [_as_ready(entry) for entry in ready if entry.group_id not in self._offered],
            [_as_ready(entry) for entry in ready if entry.group_id in self._offered],
            min(need, len(ready)),
        )
        by_id = {entry.group_id: entry for entry in ready}
        surplus = [by_id[group_id] for group_id in selection.surplus]
        if not selection.batch or self._waits_for_older({*selection.batch, *selection.surplus}):
            return []
        self._offered = set(by_id) - set(selection.batch)
        if surplus:
            await self.drop(surplus, Outcome.SURPLUS)
        batch = await self._groups.form_batch(step, [by_id[group_id] for group_id in selection.batch])
        self._pipeline.change(put=batch)
        log.info(
            "batch_formed",
            run=self._run_id,
            step=step,
            groups=[entry.group_id for entry in batch],
            staleness=[self._pipeline.policy_version - entry.oldest_version for entry in batch],
        )
        return batch

    def _waits_for_older(self, chosen: Collection[str]) -> bool:
        """Whether groups left behind would become too stale, and the patience for them is not used up."""
        left = [entry.oldest_version for entry in self._pipeline.published() if entry.group_id not in chosen]
        under_way = [oldest for oldest in self._pipeline.committing.values() if oldest is not None]
        feasible = all_will_be_fresh(
            left + under_way, self._pipeline.policy_version + 1, self._config.batch_size, self._config.max_staleness
        )
        if feasible or not under_way:
            self.patient_until = None
            return False
        if self.patient_until is None:
            self.patient_until = time.monotonic() + self._patience_s
        if time.monotonic() < self.patient_until:
            return True
        self.patient_until = None
        return False

    async def _expire(self) -> None:
        stale = [
            entry
            for entry in self._pipeline.published()
            if not is_fresh(self._pipeline.policy_version, entry.oldest_version, self._config.max_staleness)
        ]
        if stale:
            await self.drop(stale, Outcome.EXPIRED)

    async def drop(self, entries: Sequence[GroupEntry], outcome: Outcome) -> None:
        """End open groups untrained."""
        version = self._pipeline.policy_version
        await self._groups.drop(entries, outcome, now=time.time(), version=version)
        self._pipeline.change(drop=[entry.group_id for entry in entries])
        log.info(
            "groups_dropped",
            run=self._run_id,
            outcome=outcome,
            groups=[entry.group_id for entry in entries],
            version=version,
        )


def _as_ready(entry: GroupEntry) -> ReadyGroup:
    return ReadyGroup(
        group_id=entry.group_id,
        oldest_version=entry.oldest_version,
        success_rate=entry.success_rate,
        reward_std=entry.reward_std,
        num_rollouts=entry.num_rollouts,
        published_order=entry.order,
    )
