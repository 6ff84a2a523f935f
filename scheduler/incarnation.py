"""One learner incarnation towards the scheduler: it attaches, is given batches, and reports what became of them.

Owns: the order of the calls, reading ahead while a step is trained, and what happens when the run ends meanwhile. Never
trains, and never speaks HTTP itself. Invariants: a batch is given out once, and the next one only after it is reported;
`checkpointed` is said of nothing that was not reported as applied before.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from scheduler.core.errors import InvalidInput, LearnerError, StreamEnded
from scheduler.core.types import Group
from scheduler.frames import BatchFrame, FinalFrame, Frame, GroupFrame, HeartbeatFrame
from scheduler.learner_calls import Attachment, LearnerCalls
from scheduler.taking import Progress, Taking, TrainingBatch
from scheduler.unless import unless


class Incarnation:
    """One life of a learner, from attaching to the run's last word. Used by one task at a time."""

    def __init__(
        self,
        calls: LearnerCalls,
        progress: Progress,
        *,
        name: str,
        last_word_s: float = 30.0,
        on_group: Callable[[Group], None] | None = None,
    ) -> None:
        """`name` is made up anew by every process. `on_group` is called with each group as it arrives.

        `last_word_s`: how long a refused report waits for the run's end, and a report that the end overtook for its
        answer.
        """
        self._calls = calls
        self._taking = Taking(progress)
        self._name = name
        self._last_word_s = last_word_s
        self._on_group = on_group
        self._applied_step = progress.step
        self._attached: Attachment | None = None
        # Not bounded here: the scheduler sends the next batch only after this one is applied.
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._given: TrainingBatch | None = None
        self._ended = asyncio.Event()
        self.version = 0
        """The weight version of the policy, as far as it was announced."""
        self.waiting_for = ""
        """What the run waits for, as its last heartbeat said; empty once a batch has come."""
        self.last_word: FinalFrame | None = None
        """How the run ended, once it has."""

    @property
    def progress(self) -> Progress:
        """How far it has come: what a checkpoint made now has to hold."""
        return self._taking.progress

    @property
    def temperature(self) -> float:
        """Of sampling: behaviour log-probs are at it. Known once attached."""
        return self._known().temperature

    async def attach(self) -> Attachment:
        """Take the run's groups from here on; waits while the run is queued or paused, however long."""
        progress = self.progress
        self._attached = await self._calls.attach(incarnation=self._name, step=progress.step, trained=progress.trained)
        return self._attached

    async def publish(self, *, path: str, digest: str) -> int:
        """Announce the weights that this incarnation begins with; returns their version."""
        self.version = await self._calls.publish(
            incarnation=self._name, step=self.progress.step, path=path, manifest_digest=digest
        )
        return self.version

    async def batches(self) -> AsyncGenerator[TrainingBatch, None]:
        """The batches, one after the other, until the run ends; see `last_word` for how it did.

        Consumes: the stream. Produces: batches. Waits for: the next one, which comes once the last is applied.
        Unblocked by: a batch frame, the final frame. Raises StaleIncarnation when another learner has taken the run,
        StreamEnded when the stream breaks off for good, LearnerError where it makes no sense.
        """
        try:
            while (batch := await self.next_batch()) is not None:
                yield batch
        finally:
            await self.aclose()

    async def next_batch(self) -> TrainingBatch | None:
        """The next batch, or None once the run has ended; raises what `batches` raises.

        A wait that is cancelled loses nothing: whoever asks again gets the batch that it waited for.
        """
        attached = self._known()
        self._check_reported()
        reading = self._begin_to_read()
        while (frame := await self._frames.get()) is not None:
            if isinstance(frame, GroupFrame):
                self._deliver(frame)
            elif isinstance(frame, BatchFrame):
                batch = self._taking.batch(frame, version=self.version, max_staleness=attached.max_staleness)
                if batch is not None:
                    self._given = batch
                    return batch
            elif isinstance(frame, FinalFrame):
                return None
        # For whoever asks once more.
        self._frames.put_nowait(None)
        reading.result()
        return None

    async def aclose(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _begin_to_read(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="group-stream")
            self._reading.add_done_callback(lambda _: self._frames.put_nowait(None))
        return self._reading

    def _deliver(self, frame: GroupFrame) -> None:
        if self._on_group is not None:
            self._on_group(frame.group)
        self._taking.deliver(frame)

    async def _read(self) -> None:
        """Move frames from the stream to the queue, also while a step is trained, so that it never looks dead.

        Consumes: the stream. Produces: queued frames, heartbeats left out. Ends with the final frame.
        """
        async for frame in self._calls.stream(incarnation=self._name):
            self.waiting_for = frame.waiting_for if isinstance(frame, HeartbeatFrame) else ""
            if isinstance(frame, FinalFrame):
                self.last_word = frame
                self._ended.set()
            if not isinstance(frame, HeartbeatFrame):
                self._frames.put_nowait(frame)
        if not self._ended.is_set():
            raise StreamEnded("the group stream broke off without a final frame")

    async def applied(self, batch: TrainingBatch, *, path: str, digest: str, stats: Mapping[str, float]) -> int | None:
        """Report a step and announce its weights; returns their version, or None where the run has ended meanwhile.

        Raises InvalidInput where the report is refused and the run goes on.
        """
        self._taking.stepped(batch)
        call = self._calls.applied(
            incarnation=self._name,
            step=batch.step,
            group_ids=batch.group_ids,
            refused=batch.refused,
            path=path,
            manifest_digest=digest,
            stats=stats,
        )
        try:
            # The final frame may overtake the answer to the last report, which says that the step is to be saved.
            version = await unless(self._ended, call, grace_s=self._last_word_s)
        except InvalidInput as refusal:
            await self._await_last_word(refusal)
            return None
        if version is not None:
            self.version = version
            self._applied_step = batch.step
        return version

    async def _await_last_word(self, refusal: InvalidInput) -> None:
        """Return once the run has ended: one cancelled during a step refuses its report. Raises `refusal` otherwise."""
        try:
            async with asyncio.timeout(self._last_word_s):
                await self._ended.wait()
        except TimeoutError:
            raise refusal from None

    async def checkpointed(self) -> None:
        """Report that everything applied is saved."""
        await self._calls.checkpointed(incarnation=self._name, step=self._applied_step)
        self._taking.saved()

    def _check_reported(self) -> None:
        given = self._given
        if given is not None and self.progress.step < given.step:
            raise LearnerError(f"step {given.step} was given out and not reported: call `applied` before the next one")

    def _known(self) -> Attachment:
        if self._attached is None:
            raise InvalidInput("this learner is not attached: attach first", field="incarnation")
        return self._attached
