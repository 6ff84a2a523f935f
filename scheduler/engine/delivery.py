"""Groups on their way to the learner, and the learner's word on what became of them.

Owns: the group stream, and the reports attach, publish, applied and checkpointed. Never samples, never chooses groups.
Invariants: one incarnation is attached at a time; a batch is composed only when the learner waits for it, so that it is
as fresh as can be; reporting twice changes nothing, across a restart of the scheduler too; open groups are changed by
one caller at a time, and in memory exactly as in Redis, whoever hangs up meanwhile.
"""

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from scheduler.core.errors import Conflict, InvalidInput, StaleIncarnation
from scheduler.core.ledger import Outcome
from scheduler.core.path_map import PathMap
from scheduler.core.run import RunConfig
from scheduler.core.staleness import is_fresh
from scheduler.engine.batches import Batches
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.uninterrupted import uninterrupted
from scheduler.frames import FORMAT, Attached, BatchFrame, FinalFrame, HeartbeatFrame, PackedGroupFrame, Sent
from scheduler.state.groups import Attachment, GroupEntry, GroupStatus, GroupStore
from scheduler.state.versions import Account, VersionStore, WeightRecord

log = structlog.get_logger(__name__)


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
        batches: Batches,
        pipeline: Pipeline,
        groups: GroupStore,
        versions: VersionStore,
        on_weights: Callable[[WeightRecord], Awaitable[None]],
        checkpointed_step: int,
        incarnation: str,
        last_weights: WeightRecord | None,
        paths: PathMap,
        settings: DeliverySettings,
    ) -> None:
        self._run_id = run_id
        self._config = config
        self._batches = batches
        self._pipeline = pipeline
        self._groups = groups
        self._versions = versions
        self._on_weights = on_weights
        self.checkpointed_step = checkpointed_step
        self.incarnation = incarnation
        self._paths = paths
        self._settings = settings
        self._changing = asyncio.Lock()
        """Held to change open groups or what the learner reported."""
        self._last_weights = last_weights
        self.last_word: FinalFrame | None = None
        """Set when the run has nothing more for the learner."""
        self.attached_at = 0.0
        self.stats: Mapping[str, float] = {}
        """What the learner said of its last step."""

    @property
    def step(self) -> int:
        """Last step that the learner applied."""
        return self._pipeline.step

    async def attach(self, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> Attached:
        """A learner incarnation that resumed from `step`; `trained` are the groups its checkpoint holds, by step.

        Groups of steps it lost are delivered again if they are still fresh, else rolled back.
        """
        async with self._changing:
            if incarnation != self.incarnation:
                await uninterrupted(self._attach(incarnation, step, trained))
        return Attached(
            run_id=self._run_id,
            version=self._pipeline.policy_version,
            batch_size=self._config.batch_size,
            max_staleness=self._config.max_staleness,
            max_steps=self._config.max_steps,
            temperature=self._config.sampling.temperature,
            heartbeat_s=self._settings.heartbeat_s,
            format=FORMAT,
        )

    async def _attach(self, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> None:
        entries = list(self._pipeline.groups.values())
        attachment = self._sort_out(incarnation, step, trained, entries)
        # The weights that this incarnation will publish are the next version: freshness is measured against it.
        kept = await self._groups.attach(entries, attachment, now=time.time(), version=self._pipeline.policy_version)
        self.incarnation, self.checkpointed_step = incarnation, step
        self.attached_at = time.time()
        # What it is given again is to be trained before the stream ends.
        self.last_word = None
        # Not what is open now: a visit may have published meanwhile.
        ended = {entry.group_id for entry in entries} - {entry.group_id for entry in kept}
        self._pipeline.change(drop=ended, put=kept, step=step)
        log.info(
            "learner_attached",
            run=self._run_id,
            incarnation=incarnation,
            step=step,
            trained=sorted(attachment.trained),
            redelivered=sorted(attachment.redelivered),
            rolled_back=sorted(attachment.rolled_back),
            expired=sorted(attachment.expired),
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
        async with self._changing:
            self.check(incarnation)
            last = self._last_weights
            if last is not None and (last.path, last.digest) == (path, digest):
                return last
            record = self._next_weights(step, path, digest, account=await self._versions.account())
            await uninterrupted(self._publish(record))
            return record

    async def _publish(self, record: WeightRecord) -> None:
        await self._versions.announce(record)
        self._last_weights = record
        self._pipeline.change(policy_version=record.version)
        await self._announced(record)

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
        async with self._changing:
            self.check(incarnation)
            last = self._last_weights
            if last is not None and step == self.step and (last.path, last.digest) == (path, digest):
                return last
            entries = self._batch_of(step, group_ids, refused)
            record = self._next_weights(step, path, digest, account=await self._versions.account(), stats=stats)
            await uninterrupted(self._apply(entries, refused, record))
            self.stats = record.stats
            if refused:
                log.warning("learner_refused", run=self._run_id, step=step, refused=dict(refused))
            return record

    async def _apply(self, entries: Sequence[GroupEntry], refused: Mapping[str, int], record: WeightRecord) -> None:
        stepped = await self._groups.applied(
            entries, refused, incarnation=self.incarnation, step=record.step, weights=record, now=time.time()
        )
        self._last_weights = record
        self._pipeline.change(drop=refused, put=stepped, policy_version=record.version, step=record.step)
        log.info(
            "applied",
            run=self._run_id,
            step=record.step,
            version=record.version,
            groups=[entry.group_id for entry in stepped],
        )
        await self._announced(record)

    async def checkpointed(self, *, incarnation: str, step: int) -> None:
        """The learner saved `step`: what it applied up to it is trained."""
        async with self._changing:
            self.check(incarnation)
            if step > self.step:
                raise Conflict(f"step {step} was never reported as applied; the last one is {self.step}", field="step")
            if step > self.checkpointed_step:
                await uninterrupted(self._checkpointed(step))

    async def _checkpointed(self, step: int) -> None:
        saved = [
            entry
            for entry in self._pipeline.groups.values()
            if entry.status is GroupStatus.APPLIED and entry.step is not None and entry.step <= step
        ]
        await self._groups.checkpointed(saved, incarnation=self.incarnation, step=step, now=time.time())
        self.checkpointed_step = step
        self._pipeline.change(drop=[entry.group_id for entry in saved])
        log.info("checkpointed", run=self._run_id, step=step, groups=[entry.group_id for entry in saved])

    async def frames(self, *, incarnation: str) -> AsyncGenerator[Sent, None]:
        """The group stream of one incarnation.

        Consumes: published groups. Produces: a batch whenever the learner has applied the one before. Waits for:
        groups, the learner's report. Unblocked by: visits that publish, `applied`; a heartbeat goes out meanwhile.
        """
        delivered, silent_since = 0, time.monotonic()
        while True:
            moment = self._pipeline.moment
            self.check(incarnation)
            if self.last_word is not None:
                yield self.last_word
                return
            step = self.step + 1
            batch = await self._batch(step) if delivered < step else []
            self.check(incarnation)
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
        missing, step = self._config.batch_size - len(self._pipeline.published()), self.step + 1
        if missing <= 0 or self._is_past_the_end(step) or self._batches.formed(step):
            return ""
        return f"{missing} more groups for the batch of step {step}"

    def _is_past_the_end(self, step: int) -> bool:
        return self._config.max_steps is not None and step > self._config.max_steps

    async def _wait(self, moment: int, silent_since: float) -> None:
        until = silent_since + self._settings.heartbeat_s
        if self._batches.patient_until is not None:
            until = min(until, self._batches.patient_until)
        await self._pipeline.changed(moment, timeout_s=max(0.0, until - time.monotonic()))

    async def _deliver(self, step: int, batch: Sequence[GroupEntry]) -> AsyncIterator[Sent]:
        group_ids = tuple(entry.group_id for entry in batch)
        # Not looked into, and one at a time: a batch may be hundreds of megabytes. The next one is read while one is
        # on its way.
        reading = asyncio.ensure_future(self._groups.packed(group_ids[0]))
        try:
            for following in (*group_ids[1:], None):
                packed = await reading
                if packed is None:
                    # Dropped meanwhile, as a cancelled run's groups are: there is no such batch any more.
                    return
                if following is not None:
                    reading = asyncio.ensure_future(self._groups.packed(following))
                yield PackedGroupFrame(step=step, group=packed)
        finally:
            reading.cancel()
        yield BatchFrame(step=step, group_ids=group_ids, policy_version=self._pipeline.policy_version)

    async def _batch(self, step: int) -> list[GroupEntry]:
        """The batch of a step, composed if it can be now; empty until then."""
        async with self._changing:
            # Two connections of one learner may ask at once: there is one batch a step.
            if step != self.step + 1 or self._is_past_the_end(step):
                return []
            return self._batches.formed(step) or await uninterrupted(self._batches.compose(step))

    async def drop_surplus(self) -> None:
        """End what is published and will never be trained, if no step is left to take."""
        async with self._changing:
            # Asked inside: a learner that has just attached may have taken its last step back.
            if self._pipeline.groups_left == 0 and self._pipeline.published():
                await uninterrupted(self._batches.drop(self._pipeline.published(), Outcome.SURPLUS))

    async def drop(self, status: GroupStatus, outcome: Outcome) -> None:
        """End all open groups of one status untrained, as the end of the run wants it."""
        async with self._changing:
            entries = [entry for entry in self._pipeline.groups.values() if entry.status is status]
            if entries:
                await uninterrupted(self._batches.drop(entries, outcome))

    def check(self, incarnation: str) -> None:
        """Raise StaleIncarnation for a learner that is not the one attached."""
        if incarnation != self.incarnation:
            raise StaleIncarnation(f"learner {incarnation} is not the one that is attached: attach first, or stop it")

    def _batch_of(self, step: int, group_ids: Collection[str], refused: Mapping[str, int]) -> list[GroupEntry]:
        if step != self.step + 1:
            raise Conflict(f"step {step} is not the next one, which is {self.step + 1}", field="step")
        formed = {entry.group_id: entry for entry in self._batches.formed(step)}
        said = set(group_ids) | set(refused)
        if said != set(formed):
            odd = ", ".join(sorted(said ^ set(formed)))
            raise InvalidInput(f"these groups are not the batch of step {step}: {odd}", field="group_ids")
        return list(formed.values())

    def _next_weights(
        self, step: int, path: str, digest: str, *, account: Account, stats: Mapping[str, float] | None = None
    ) -> WeightRecord:
        here = self._paths.here(path)
        if not os.path.isdir(here):
            mapped = "" if here == path else f" (PILOTCOMMIT_PATH_MAP gives it for {path})"
            raise InvalidInput(
                f"{here}{mapped} is not a folder here: servers and scheduler read weights from it", field="path"
            )
        return WeightRecord(
            version=self._pipeline.policy_version + 1,
            path=path,
            digest=digest,
            step=step,
            announced_at=time.time(),
            spent_rollouts=account.rollouts,
            spent_tokens=account.tokens,
            verdicts=account.verdicts,
            # What is not finite cannot be written as JSON, and no curve shows it.
            stats={name: value for name, value in (stats or {}).items() if math.isfinite(value)},
        )

    async def _announced(self, record: WeightRecord) -> None:
        log.info("weights_announced", run=self._run_id, version=record.version, step=record.step)
        await self._on_weights(record)
