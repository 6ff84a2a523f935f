"""One learner incarnation, from attaching to its run to leaving it.

Owns: the order of stepping, publishing, reporting and checkpointing. Never speaks HTTP, never computes, and leaves what
it is given to `scheduler.incarnation`, which any trainer uses. Invariant: a step is reported only after its weights are
complete on disk, and `checkpointed` only after the checkpoint is.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from enum import StrEnum
from typing import TypeVar

import structlog

from learner.broadcast import Broadcaster
from learner.checkpoint import Progress
from learner.fault import FaultPoint
from learner.step_report import StepReport
from learner.weight_publish import PublishedWeights
from learner.workshop import Workshop
from scheduler import taking
from scheduler.core.errors import PilotCommitError
from scheduler.core.types import Group
from scheduler.incarnation import Incarnation
from scheduler.learner_calls import LearnerCalls
from scheduler.taking import TrainingBatch
from scheduler.unless import unless

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
        calls: LearnerCalls,
        workshop: Workshop,
        progress: Progress,
        *,
        incarnation: str,
        broadcaster: Broadcaster | None = None,
    ) -> None:
        """Without a broadcaster servers read published weights from disk."""
        self._calls = calls
        self._broadcaster = broadcaster
        self._workshop = workshop
        self._name = incarnation
        self._run_id = progress.run_id
        self._incarnation = Incarnation(
            calls,
            taking.Progress(step=progress.step, trained=progress.trained),
            name=incarnation,
            last_word_s=workshop.last_word_s,
            on_group=self._pass_taking,
        )
        self._step = progress.step
        self._saved_step = progress.step
        self._weights: PublishedWeights | None = None
        self._publish_s = 0.0
        self._told_accuracies: set[int] = set()
        self._stopping = asyncio.Event()
        # One thread for all torch work: OpenMP keeps a team of threads for every thread that calls it.
        self._torch = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch")

    def request_stop(self) -> None:
        """Finish the step under way, checkpoint, report and leave."""
        self._stopping.set()

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
                if await unless(self._stopping, self._attach()) is None:
                    beating.cancel()
                    return Ending.STOPPED
                sending = tasks.create_task(self._broadcast(), name="broadcasts")
                ending = await self._train()
                for task in (beating, sending):
                    task.cancel()
                return ending
        finally:
            # After all that the other ranks were told before.
            dismissal = self._torch.submit(self._workshop.lead.dismiss)
            self._torch.shutdown()
            dismissal.result()

    async def _attach(self) -> int:
        await self._incarnation.attach()
        weights = await self._publish(step=self._step)
        if self._broadcaster is not None:
            # Before they are announced: servers would go to the disk at once.
            await self._broadcaster.offer(weights.path)
        version = await self._incarnation.publish(path=str(weights.path), digest=weights.manifest_digest)
        self._workshop.metrics.at(step=self._step, version=version)
        _log.info("attached", run=self._run_id, incarnation=self._name, step=self._step, version=version)
        return version

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

    def _pass_taking(self, _: Group) -> None:
        self._workshop.fault.passing(FaultPoint.TAKING)

    async def _train(self) -> Ending:
        """Train batch after batch.

        Consumes: batches. Produces: steps. Waits for: the next batch. Unblocked by: it, the run's end, `request_stop`.
        """
        async with aclosing(self._incarnation.batches()) as batches:
            while (batch := await unless(self._stopping, _next(batches))) and not self._stopping.is_set():
                if not await self._train_batch(batch):
                    return await self._leave(Ending.FINISHED, "the run ended during a step")
        if self._stopping.is_set():
            return await self._leave(Ending.STOPPED, "asked to stop")
        last = self._incarnation.last_word
        return await self._leave(Ending.FINISHED, "" if last is None else f"{last.state}: {last.reason}")

    async def _train_batch(self, batch: TrainingBatch) -> bool:
        """One step; False where the run has ended meanwhile and does not want the report."""
        temperature = self._incarnation.temperature
        report = await self._blocking(lambda: self._workshop.step(batch.groups, temperature=temperature))
        self._workshop.fault.passing(FaultPoint.STEPPING)
        self._step = batch.step
        # Weights that did not move are announced again: every step makes a version, and the path need not change.
        weights = await self._publish(step=batch.step) if report.num_updates or self._weights is None else self._weights
        if not await self._report(batch, weights, report):
            return False
        version = self._incarnation.version
        self._workshop.metrics.stepped(report, step=batch.step, version=version, num_refused=len(batch.refused))
        await self._tell_sinks(batch, report)
        self._workshop.publisher.prune(await self._calls.weights_in_use())
        if self._step - self._saved_step >= self._workshop.checkpoint_every:
            await self._checkpoint()
        return True

    async def _tell_sinks(self, batch: TrainingBatch, report: StepReport) -> None:
        sinks = self._workshop.sinks
        if not sinks:
            return
        own = {**report.stats, "weight_version": self._incarnation.version, "num_refused": len(batch.refused)}
        numbers = {f"learner/{name}": float(value) for name, value in own.items()}
        try:
            course = await self._calls.course()
        except PilotCommitError as error:
            _log.info("course_unknown", run=self._run_id, reason=str(error))
        else:
            numbers |= {f"run/{name}": value for name, value in course.numbers.items()}
            for step, accuracy in course.accuracies.items():
                if step not in self._told_accuracies:
                    self._told_accuracies.add(step)
                    sinks.write({"run/accuracy": accuracy}, step=step)
        sinks.write(numbers, step=batch.step)

    async def _report(self, batch: TrainingBatch, weights: PublishedWeights, report: StepReport) -> bool:
        version = await self._incarnation.applied(
            batch,
            path=str(weights.path),
            digest=weights.manifest_digest,
            stats={**report.stats, "publish_s": self._publish_s if report.num_updates else 0.0},
        )
        if version is None:
            return False
        _log.info(
            "stepped",
            run=self._run_id,
            step=batch.step,
            version=version,
            groups=len(batch.groups),
            refused=dict(batch.refused),
            **{name: round(value, 6) for name, value in report.stats.items()},
        )
        return True

    async def _publish(self, *, step: int) -> PublishedWeights:
        started = time.perf_counter()
        self._weights = await self._blocking(lambda: self._workshop.publish(step=step))
        self._publish_s = time.perf_counter() - started
        self._workshop.metrics.spent("publish", self._publish_s)
        return self._weights

    async def _checkpoint(self) -> None:
        self._workshop.fault.passing(FaultPoint.BEFORE_CHECKPOINT)
        started = time.perf_counter()
        num_updates = self._workshop.trainer.num_updates
        trained = dict(self._incarnation.progress.trained)
        progress = Progress(run_id=self._run_id, step=self._step, num_updates=num_updates, trained=trained)
        await self._blocking(lambda: self._workshop.save(progress))
        self._workshop.metrics.spent("checkpoint", time.perf_counter() - started)
        self._workshop.fault.passing(FaultPoint.AFTER_CHECKPOINT)
        await self._incarnation.checkpointed()
        self._saved_step = self._step
        _log.info("checkpointed", run=self._run_id, step=self._step)

    async def _leave(self, ending: Ending, reason: str) -> Ending:
        if self._step > self._saved_step:
            await self._checkpoint()
        _log.info("leaving", run=self._run_id, step=self._step, ending=ending, reason=reason)
        return ending

    async def _blocking(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._torch, work)


async def _next(batches: AsyncGenerator[TrainingBatch, None]) -> TrainingBatch | None:
    return await anext(batches, None)
