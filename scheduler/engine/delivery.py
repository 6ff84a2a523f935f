"""Groups on their way to the learner, and the learner's word on what became of them.

Owns: composing batches, the group stream, and the reports attach, publish, applied and checkpointed. Never samples.
Invariants: one incarnation is attached at a time; a batch is composed only when the learner waits for it, so that it is
as fresh as can be; reporting twice changes nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from scheduler.core.allocators.interface import Allocator, ReadyGroup
from scheduler.core.errors import Conflict, InvalidInput, StaleIncarnation
from scheduler.core.ledger import Outcome
from scheduler.core.run import RunConfig
from scheduler.core.staleness import all_will_be_fresh, is_fresh
from scheduler.engine.pipeline import Pipeline
from scheduler.frames import BatchFrame, FinalFrame, Frame, GroupFrame, HeartbeatFrame
from scheduler.state.groups import Attachment, GroupEntry, GroupStatus, GroupStore
from scheduler.state.versions import VersionStore, WeightRecord

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What a learner needs to know once attached."""

    run_id: str
    version: int
    """The newest weight version; 0 before any. The learner publishes its own as the next one."""
    batch_size: int
    max_staleness: int
    max_steps: int | None
    temperature: float
    """Of sampling: behaviour log-probs are at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How long the stream waits."""

    heartbeat_s: float = 5.0
    """Longest silence on the stream."""
    patience_s: float = 10.0
    """How long a full batch waits for older groups that would become too stale for the next one."""


class Delivery:
    """Both directions between the run and its learner."""

    def __init__(
        self,
        *,
        run_id: str,
        config: RunConfig,
        allocator: Allocator,
        pipeline: Pipeline,
        groups: GroupStore,
        versions: VersionStore,
        on_weights: Callable[[WeightRecord], Awaitable[None]],
        step: int,
        checkpointed_step: int,
        incarnation: str,
        settings: DeliverySettings,
    ) -> None:
        self._run_id = run_id
        self._config = config
        self.allocator = allocator
        self._pipeline = pipeline
        self._groups = groups
        self._versions = versions
        self._on_weights = on_weights
        self.step = step
        self.checkpointed_step = checkpointed_step
        self.incarnation = incarnation
        self._settings = settings
        self._reports = asyncio.Lock()
        self._last_weights: WeightRecord | None = None
        self._patient_until: float | None = None
        self._offered: set[str] = set()
        self.sourceless = False
        """Nothing more will be published: the rest may make a smaller batch, and then the stream ends."""
        self.last_word: FinalFrame | None = None
        """Set when the run has nothing more for the learner."""
        self.attached_at = 0.0
        self.stats: Mapping[str, float] = {}
        """What the learner said of its last step."""

    async def attach(self, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> Attached:
        """A learner incarnation that resumed from `step`; `trained` are the groups its checkpoint holds, by step.

        Groups of steps it lost are delivered again if they are still fresh, else rolled back.
        """
        async with self._reports:
            if incarnation != self.incarnation:
                await self._attach(incarnation, step, trained)
        return Attached(
            run_id=self._run_id,
            version=self._pipeline.policy_version,
            batch_size=self._config.batch_size,
            max_staleness=self._config.max_staleness,
            max_steps=self._config.max_steps,
            temperature=self._config.sampling.temperature,
        )

    async def _attach(self, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> None:
        entries = list(self._pipeline.groups.values())
        attachment = self._sort_out(incarnation, step, trained, entries)
        # The weights that this incarnation will publish are the next version: freshness is measured against it.
        kept = await self._groups.attach(entries, attachment, now=time.time(), version=self._pipeline.policy_version)
        self.incarnation, self.step, self.checkpointed_step = incarnation, step, step
        self.attached_at = time.time()
        self._pipeline.set_groups(kept)
        log.info(
            "learner_attached",
            run=self._run_id,
            incarnation=incarnation,
            step=step,
            trained=len(attachment.trained),
            redelivered=len(attachment.redelivered),
            rolled_back=len(attachment.rolled_back),
        )

    def _sort_out(
        self, incarnation: str, step: int, trained: Mapping[int, Sequence[str]], entries: Sequence[GroupEntry]
    ) -> Attachment:
        saved = {group_id for group_ids in trained.values() for group_id in group_ids}
        buckets: dict[str, list[str]] = {"trained": [], "redelivered": [], "rolled_back": [], "expired": []}
        for entry in entries:
            applied = entry.status is GroupStatus.APPLIED
            within = entry.step is not None and entry.step <= step
            if entry.group_id in saved or (applied and within):
                buckets["trained"].append(entry.group_id)
            elif within and entry.step in trained:
                # The checkpoint holds this step without this group: the learner had refused it and never said so.
                buckets["expired"].append(entry.group_id)
            elif applied:
                fresh = is_fresh(self._pipeline.policy_version + 1, entry.oldest_version, self._config.max_staleness)
                buckets["redelivered" if fresh else "rolled_back"].append(entry.group_id)
        return Attachment(incarnation=incarnation, step=step, **buckets)

    async def publish(self, *, incarnation: str, step: int, path: str, digest: str) -> WeightRecord:
        """Initial or restored weights become the next version."""
        async with self._reports:
            self._check(incarnation)
            last = self._last_weights
            if last is not None and (last.path, last.digest) == (path, digest):
                return last
            record = self._next_weights(step, path, digest)
            await self._versions.announce(record)
            await self._announced(record)
            return record

    async def applied(
        self,
        *,
        incarnation: str,
        step: int,
        group_ids: Collection[str],
        refused: Mapping[str, int],
        path: str,
        digest: str,
        stats: Mapping[str, float],
    ) -> WeightRecord:
        """The learner stepped on a batch; its groups are applied and its weights are the next version."""
        async with self._reports:
            self._check(incarnation)
            last = self._last_weights
            if last is not None and step == self.step and (last.path, last.digest) == (path, digest):
                return last
            entries = self._batch_of(step, group_ids, refused)
            record = self._next_weights(step, path, digest)
            stepped = await self._groups.applied(
                entries, refused, incarnation=incarnation, step=step, weights=record, now=time.time()
            )
            self.step, self.stats = step, stats
            self._pipeline.drop_groups(refused)
            self._pipeline.put_groups(stepped)
            await self._announced(record)
            if refused:
                log.warning("learner_refused", run=self._run_id, step=step, refused=dict(refused))
            return record

    async def checkpointed(self, *, incarnation: str, step: int) -> None:
        """The learner saved `step`: what it applied up to it is trained."""
        async with self._reports:
            self._check(incarnation)
            if step > self.step:
                raise Conflict(f"step {step} was never reported as applied; the last one is {self.step}", field="step")
            saved = [
                entry
                for entry in self._pipeline.groups.values()
                if entry.status is GroupStatus.APPLIED and entry.step is not None and entry.step <= step
            ]
            await self._groups.checkpointed(saved, incarnation=incarnation, step=step, now=time.time())
            self.checkpointed_step = max(step, self.checkpointed_step)
            self._pipeline.drop_groups(entry.group_id for entry in saved)
            log.info("checkpointed", run=self._run_id, step=step, groups=len(saved))

    async def frames(self, *, incarnation: str) -> AsyncIterator[Frame]:
        """The group stream of one incarnation.

        Consumes: published groups. Produces: a batch whenever the learner has applied the one before. Waits for:
        groups, the learner's report. Unblocked by: visits that publish, `applied`; a heartbeat goes out meanwhile.
        """
        delivered, silent_since = 0, time.monotonic()
        while True:
            moment = self._pipeline.moment
            self._check(incarnation)
            if self.last_word is not None:
                yield self.last_word
                return
            step = self.step + 1
            batch = self._formed(step) if delivered < step else []
            if delivered < step and not batch:
                batch = await self._compose(step)
            if batch:
                async for frame in self._deliver(step, batch):
                    yield frame
                delivered, silent_since = step, time.monotonic()
            elif time.monotonic() - silent_since >= self._settings.heartbeat_s:
                yield HeartbeatFrame(waiting_for=self.waiting_for())
                silent_since = time.monotonic()
            await self._wait(moment, silent_since)

    def waiting_for(self) -> str:
        """What the next batch waits for; empty if the learner has it."""
        ready, need = len(self._pipeline.published()), self._config.batch_size
        if self._formed(self.step + 1):
            return ""
        return f"{need - ready} more groups for the batch of step {self.step + 1}" if ready < need else ""

    async def _wait(self, moment: int, silent_since: float) -> None:
        until = silent_since + self._settings.heartbeat_s
        if self._patient_until is not None:
            until = min(until, self._patient_until)
        await self._pipeline.changed(moment, timeout_s=max(0.0, until - time.monotonic()))

    async def _deliver(self, step: int, batch: Sequence[GroupEntry]) -> AsyncIterator[Frame]:
        group_ids = tuple(entry.group_id for entry in batch)
        for group in await self._groups.load(group_ids):
            yield GroupFrame(step=step, group=group)
        yield BatchFrame(step=step, group_ids=group_ids, policy_version=self._pipeline.policy_version)

    def _formed(self, step: int) -> list[GroupEntry]:
        return [entry for entry in self._pipeline.published() if entry.step == step]

    async def _compose(self, step: int) -> list[GroupEntry]:
        """Choose the batch of a step, or nothing yet."""
        await self._expire()
        ready = self._pipeline.published()
        need = self._config.batch_size
        if len(ready) < need and not (self.sourceless and ready):
            return []
        selection = self.allocator.select(
            [_as_ready(entry) for entry in ready if entry.group_id not in self._offered],
            [_as_ready(entry) for entry in ready if entry.group_id in self._offered],
            min(need, len(ready)),
        )
        if not selection.batch or self._waits_for_older(set(selection.batch)):
            return []
        self._offered = {entry.group_id for entry in ready} - set(selection.batch)
        by_id = {entry.group_id: entry for entry in ready}
        surplus = [by_id[group_id] for group_id in selection.surplus]
        if surplus:
            await self.drop(surplus, Outcome.SURPLUS)
        batch = await self._groups.form_batch(step, [by_id[group_id] for group_id in selection.batch])
        self._pipeline.put_groups(batch)
        log.info(
            "batch_formed",
            run=self._run_id,
            step=step,
            groups=len(batch),
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
            self._patient_until = None
            return False
        if self._patient_until is None:
            self._patient_until = time.monotonic() + self._settings.patience_s
        if time.monotonic() < self._patient_until:
            return True
        self._patient_until = None
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
        """End published groups untrained."""
        version = self._pipeline.policy_version
        await self._groups.drop(entries, outcome, now=time.time(), version=version)
        self._pipeline.drop_groups(entry.group_id for entry in entries)
        log.info("groups_dropped", run=self._run_id, outcome=outcome, groups=len(entries), version=version)

    def _check(self, incarnation: str) -> None:
        if incarnation != self.incarnation:
            raise StaleIncarnation(f"learner {incarnation} is not the one that is attached: attach first, or stop it")

    def _batch_of(self, step: int, group_ids: Collection[str], refused: Mapping[str, int]) -> list[GroupEntry]:
        if step != self.step + 1:
            raise Conflict(f"step {step} is not the next one, which is {self.step + 1}", field="step")
        formed = {entry.group_id: entry for entry in self._formed(step)}
        said = set(group_ids) | set(refused)
        if said != set(formed):
            odd = ", ".join(sorted(said ^ set(formed)))
            raise InvalidInput(f"these groups are not the batch of step {step}: {odd}", field="group_ids")
        return list(formed.values())

    def _next_weights(self, step: int, path: str, digest: str) -> WeightRecord:
        if not Path(path).is_dir():
            raise InvalidInput(f"{path} is not a folder here: servers and scheduler read weights from it", field="path")
        return WeightRecord(
            version=self._pipeline.policy_version + 1, path=path, digest=digest, step=step, announced_at=time.time()
        )

    async def _announced(self, record: WeightRecord) -> None:
        self._last_weights = record
        self._pipeline.set_versions(policy=record.version)
        log.info("weights_announced", run=self._run_id, version=record.version, step=record.step)
        await self._on_weights(record)


def _as_ready(entry: GroupEntry) -> ReadyGroup:
    return ReadyGroup(
        group_id=entry.group_id,
        oldest_version=entry.oldest_version,
        success_rate=entry.success_rate,
        reward_std=entry.reward_std,
        num_rollouts=sum(entry.counts.values()),
        published_order=entry.order,
    )
