"""One learner incarnation, from attaching to its run to leaving it.

Owns: the order of taking, stepping, publishing, reporting and checkpointing, and what this incarnation has trained.
Never speaks HTTP and never computes. Invariants: a group is trained at most once; a step is reported only after its
weights are complete on disk, and `checkpointed` only after the checkpoint is.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TypeVar

import structlog

from learner.broadcast import Broadcaster
from learner.checkpoint import Progress
from learner.fault import FaultPoint
from learner.scheduler_link import Attached, SchedulerLink
from learner.step_report import StepReport
from learner.weight_publish import PublishedWeights
from learner.workshop import Workshop
from scheduler.core.errors import InvalidInput, LearnerError, StreamEnded
from scheduler.core.staleness import is_fresh, staleness
from scheduler.core.types import Group
from scheduler.frames import BatchFrame, FinalFrame, Frame, GroupFrame, HeartbeatFrame

Result = TypeVar("Result")

_log = structlog.get_logger()


class Ending(StrEnum):
    """Why a session ended well."""

    FINISHED = "finished"
    """The run's stream ended with its final frame."""
    STOPPED = "stopped"
    """The process was asked to stop; the run can be resumed."""


class Session:
    """Trains one run until it ends or the process is asked to stop."""

    def __init__(
        self,
        link: SchedulerLink,
        workshop: Workshop,
        progress: Progress,
        *,
        incarnation: str,
        broadcaster: Broadcaster | None = None,
    ) -> None:
        """Without a broadcaster servers read published weights from disk."""
        self._link = link
        self._broadcaster = broadcaster
        self._workshop = workshop
        self._incarnation = incarnation
        self._run_id = progress.run_id
        self._step = progress.step
        self._applied_step = progress.step
        self._saved_step = progress.step
        self._trained = dict(progress.trained)
        self._version = 0
        self._weights: PublishedWeights | None = None
        self._publish_s = 0.0
        self._taken: dict[str, Group] = {}
        # Not bounded here: the scheduler sends the next batch only after this one is applied.
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        # One thread for all torch work: OpenMP keeps a team of threads for every thread that calls it.
        self._torch = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch")

    def request_stop(self) -> None:
        """Finish the step under way, checkpoint, report and leave."""
        self._stopping.set()
        self._frames.put_nowait(None)

    async def run(self) -> Ending:
        """Attach, train, leave.

        Consumes: the group stream. Produces: weights and checkpoints, each reported. Waits for: the scheduler, groups.
        Unblocked by: a batch, the final frame, `request_stop`. Raises (in an ExceptionGroup) StaleIncarnation when
        another learner has taken the run, StreamEnded when the stream breaks off for good, LearnerError otherwise.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._beat(), name="beats")
                # A scheduler that is away must not hold up a stop.
                attached = await self._unless(self._stopping, self._attach())
                if attached is None:
                    beating.cancel()
                    return Ending.STOPPED
                reading = tasks.create_task(self._read_stream(), name="group-stream")
                sending = tasks.create_task(self._broadcast(), name="broadcasts")
                ending = await self._train(attached)
                for task in (beating, reading, sending):
                    task.cancel()
                return ending
        finally:
            # After all that the other ranks were told before.
            dismissal = self._torch.submit(self._workshop.lead.dismiss)
            self._torch.shutdown()
            dismissal.result()

    async def _unless(
        self, event: asyncio.Event, call: Coroutine[None, None, Result], *, grace_s: float = 0.0
    ) -> Result | None:
        """The result of `call`, or None if the event comes `grace_s` before it; the call is cancelled then."""
        task = asyncio.ensure_future(call)
        watch = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=grace_s)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            watch.cancel()
            await asyncio.wait({task, watch})

    async def _attach(self) -> Attached:
        attached = await self._link.attach(incarnation=self._incarnation, step=self._step, trained=self._trained)
        weights = await self._publish()
        if self._broadcaster is not None:
            # Before they are announced: servers would go to the disk at once.
            await self._broadcaster.offer(weights.path)
        self._version = await self._link.publish(
            incarnation=self._incarnation,
            step=self._step,
            path=str(weights.path),
            manifest_digest=weights.manifest_digest,
        )
        self._workshop.metrics.at(step=self._step, version=self._version)
        _log.info("attached", run=self._run_id, incarnation=self._incarnation, step=self._step, version=self._version)
        return attached

    async def _broadcast(self) -> None:
        if self._broadcaster is not None:
            await self._broadcaster.run()

    async def _beat(self) -> None:
        """Speak to the other ranks while there is nothing to do, so that they do not take this one for dead.

        Produces: a beat. Waits for: time to pass, and work under way. Ends at once where there is no other rank.
        """
        while self._workshop.beat_s is not None:
            await asyncio.sleep(self._workshop.beat_s)
            await self._blocking(self._workshop.beat)

    async def _read_stream(self) -> None:
        """Move frames from the stream to the queue, also while a step is computed, so that it never looks dead.

        Consumes: the stream. Produces: queued frames, heartbeats left out. Ends with the final frame.
        """
        async for frame in self._link.stream(incarnation=self._incarnation):
            if isinstance(frame, HeartbeatFrame):
                continue
            self._frames.put_nowait(frame)
            if isinstance(frame, FinalFrame):
                self._ended.set()
                return
        raise StreamEnded("the group stream broke off without a final frame")

    async def _train(self, attached: Attached) -> Ending:
        while True:
            frame = await self._frames.get()
            if self._stopping.is_set():
                return await self._leave(Ending.STOPPED, "asked to stop")
            match frame:
                case GroupFrame():
                    self._take(frame)
                case BatchFrame():
                    if frame.step > self._step and not await self._train_batch(frame, attached):
                        return await self._leave(Ending.FINISHED, "the run ended during a step")
                case FinalFrame():
                    return await self._leave(Ending.FINISHED, f"{frame.state}: {frame.reason}")
                case _:
                    raise LearnerError(f"{frame!r} does not belong into the queue")

    def _take(self, frame: GroupFrame) -> None:
        self._workshop.fault.passing(FaultPoint.TAKING)
        if frame.step > self._step:
            self._taken[frame.group.group_id] = frame.group

    async def _train_batch(self, frame: BatchFrame, attached: Attached) -> bool:
        """One step; False where the run has ended meanwhile and does not want the report."""
        groups = self._batch(frame)
        refused = {
            group.group_id: staleness(self._version, group.oldest_version)
            for group in groups
            if not is_fresh(self._version, group.oldest_version, attached.max_staleness)
        }
        fresh = [group for group in groups if group.group_id not in refused]
        report = await self._blocking(lambda: self._workshop.step(fresh, temperature=attached.temperature))
        self._workshop.fault.passing(FaultPoint.STEPPING)
        self._step = frame.step
        self._trained[frame.step] = tuple(group.group_id for group in fresh)
        # Weights that did not move are announced again: every step makes a version, and the path need not change.
        weights = await self._publish() if report.num_updates or self._weights is None else self._weights
        if not await self._report(weights, refused, report):
            return False
        self._workshop.metrics.stepped(report, step=self._step, version=self._version, num_refused=len(refused))
        self._workshop.publisher.prune(await self._link.weights_in_use())
        if self._step - self._saved_step >= self._workshop.checkpoint_every:
            await self._checkpoint()
        return True

    def _batch(self, frame: BatchFrame) -> list[Group]:
        """The groups of a batch, each delivered and none trained before; raises LearnerError otherwise."""
        if frame.step != self._step + 1:
            raise LearnerError(f"a batch of step {frame.step} after step {self._step}: a step is missing")
        if unknown := [group_id for group_id in frame.group_ids if group_id not in self._taken]:
            raise LearnerError(f"step {frame.step} names groups that were not delivered: {', '.join(unknown)}")
        trained = {group_id for group_ids in self._trained.values() for group_id in group_ids}
        if again := trained.intersection(frame.group_ids):
            raise LearnerError(f"step {frame.step} names groups that are trained already: {', '.join(sorted(again))}")
        groups = [self._taken[group_id] for group_id in frame.group_ids]
        self._taken.clear()
        return groups

    async def _report(self, weights: PublishedWeights, refused: Mapping[str, int], report: StepReport) -> bool:
        call = self._link.applied(
            incarnation=self._incarnation,
            step=self._step,
            group_ids=self._trained[self._step],
            refused=refused,
            path=str(weights.path),
            manifest_digest=weights.manifest_digest,
            stats={**report.stats, "publish_s": self._publish_s if report.num_updates else 0.0},
        )
        try:
            # The final frame may overtake the answer to the last report, which says that the step is to be saved.
            version = await self._unless(self._ended, call, grace_s=self._workshop.last_word_s)
        except InvalidInput as refusal:
            await self._await_last_word(refusal)
            return False
        if version is None:
            return False
        self._version = version
        self._applied_step = self._step
        _log.info(
            "stepped",
            run=self._run_id,
            step=self._step,
            version=self._version,
            groups=len(self._trained[self._step]),
            refused=dict(refused),
            **{name: round(value, 6) for name, value in report.stats.items()},
        )
        return True

    async def _await_last_word(self, refusal: InvalidInput) -> None:
        """Return once the run has ended: one cancelled during a step refuses its report. Raises `refusal` otherwise."""
        try:
            async with asyncio.timeout(self._workshop.last_word_s):
                await self._ended.wait()
        except TimeoutError:
            raise refusal from None

    async def _publish(self) -> PublishedWeights:
        started = time.perf_counter()
        self._weights = await self._blocking(lambda: self._workshop.publish(step=self._step))
        self._publish_s = time.perf_counter() - started
        self._workshop.metrics.spent("publish", self._publish_s)
        return self._weights

    async def _checkpoint(self) -> None:
        self._workshop.fault.passing(FaultPoint.BEFORE_CHECKPOINT)
        started = time.perf_counter()
        num_updates = self._workshop.trainer.num_updates
        progress = Progress(run_id=self._run_id, step=self._step, num_updates=num_updates, trained=self._trained)
        await self._blocking(lambda: self._workshop.save(progress))
        self._workshop.metrics.spent("checkpoint", time.perf_counter() - started)
        self._workshop.fault.passing(FaultPoint.AFTER_CHECKPOINT)
        await self._link.checkpointed(incarnation=self._incarnation, step=self._applied_step)
        self._saved_step = self._step
        self._trained.clear()
        _log.info("checkpointed", run=self._run_id, step=self._step)

    async def _leave(self, ending: Ending, reason: str) -> Ending:
        if self._step > self._saved_step:
            await self._checkpoint()
        _log.info("leaving", run=self._run_id, step=self._step, ending=ending, reason=reason)
        return ending

    async def _blocking(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._torch, work)
