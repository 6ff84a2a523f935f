"""A learner that follows the rules and computes nothing.

Owns: what it received, applied and saved. Never looks into the scheduler: it knows what a learner process would.
Invariant: it refuses what is too stale, as the real one does, and fails the test on a group it has trained before.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.errors import InvalidInput, NotAtWork
from scheduler.core.types import Group
from scheduler.frames import Attached, BatchFrame, FinalFrame, Frame, GroupFrame, HeartbeatFrame, PackedGroupFrame
from scheduler.service import Service
from scheduler.state.versions import WeightRecord

DEADLINE_S = 90.0
"""How long a test waits for an engine: a machine may stand still for a minute."""
_LAST_WORD_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint."""

    step: int = 0
    trained: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Groups of the steps since the last report, by step."""
    lineage: tuple[str, ...] = ()
    """Every group that the saved policy has ever been trained on."""


@dataclass(slots=True, kw_only=True)
class Learner:
    """One learner incarnation."""

    at: Callable[[], Service]
    """The scheduler as it is now: it may be another process than before."""
    folder: Path
    incarnation: str = "learner-1"
    run_id: str = "run"
    max_staleness: int = 1
    saved: Saved = Saved()
    step: int = 0
    version: int = 0
    trained: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lineage: list[str] = field(default_factory=list)
    received: dict[str, Group] = field(default_factory=dict)
    batches: dict[int, tuple[str, ...]] = field(default_factory=dict)
    staleness: list[int] = field(default_factory=list)
    """Of every group when it was consumed."""
    refused: dict[str, int] = field(default_factory=dict)
    heartbeats: list[str] = field(default_factory=list)
    final: FinalFrame | None = None

    def restarted(self, incarnation: str) -> "Learner":
        """The incarnation that takes over from the last checkpoint."""
        saved = self.saved
        return Learner(
            at=self.at,
            folder=self.folder,
            incarnation=incarnation,
            run_id=self.run_id,
            max_staleness=self.max_staleness,
            saved=saved,
            step=saved.step,
            trained=dict(saved.trained),
            lineage=list(saved.lineage),
        )

    async def attach(self) -> Attached:
        """Take the run over, once its engine is at work, and publish the weights of the checkpoint."""
        await self._taken_up()
        attached = await self.at().learner_desk.attach(
            self.run_id, incarnation=self.incarnation, step=self.step, trained=self.trained
        )
        await self.publish()
        return attached

    async def publish(self, name: str = "") -> WeightRecord:
        """Publish weights that no step made: those of the checkpoint, or others under a name of their own."""
        path = self._write_weights(name)
        record = await self.at().learner_desk.publish(
            self.run_id, incarnation=self.incarnation, step=self.step, path=path, digest=path
        )
        self.version = record.version
        return record

    async def _taken_up(self) -> None:
        """Wait until the run's engine is at work: the real learner asks again for as long as it is not."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                await self.at().orders.evaluate(self.run_id, pool="", num_rollouts=1, version=None)
            except NotAtWork:
                assert time.monotonic() < deadline, "the run is never taken up"
                await asyncio.sleep(0.002)
            except InvalidInput:
                return

    def _write_weights(self, name: str = "") -> str:
        path = self.folder / (name or f"{self.incarnation}-{self.step}")
        path.mkdir(exist_ok=True)
        (path / "model.safetensors").write_bytes(path.name.encode())
        return str(path)

    async def frames(self) -> AsyncIterator[Frame]:
        """The group stream, noted down as it comes."""
        await self._taken_up()
        async for sent in self.at().learner_desk.stream(self.run_id, incarnation=self.incarnation):
            frame = sent.unpacked() if isinstance(sent, PackedGroupFrame) else sent
            match frame:
                case GroupFrame():
                    self.received[frame.group.group_id] = frame.group
                case BatchFrame():
                    self.batches[frame.step] = frame.group_ids
                case HeartbeatFrame():
                    self.heartbeats.append(frame.waiting_for)
                case FinalFrame():
                    self.final = frame
            yield frame

    async def take(self) -> BatchFrame | None:
        """The next batch, or None if the run's last word came instead."""
        async for frame in self.frames():
            if isinstance(frame, BatchFrame) and frame.step > self.step:
                return frame
        return None

    async def last_word(self) -> FinalFrame:
        """What the stream ends with; batches that still come are left alone."""
        async for frame in self.frames():
            if isinstance(frame, FinalFrame):
                return frame
        raise AssertionError("the stream ended without a last word")

    async def apply(self, batch: BatchFrame) -> WeightRecord:
        """Step on a batch and report it."""
        assert batch.step == self.step + 1
        stale = {name: self.version - self.received[name].oldest_version for name in batch.group_ids}
        self.refused = {name: age for name, age in stale.items() if age > self.max_staleness}
        fresh = [name for name in batch.group_ids if name not in self.refused]
        again = set(fresh) & set(self.lineage)
        assert not again, f"trained twice: {again}"
        self.staleness += stale.values()
        self.lineage += fresh
        self.trained[batch.step] = tuple(fresh)
        self.step = batch.step
        return await self.report()

    async def report(self) -> WeightRecord:
        """Report the last step; again, if it was reported before."""
        path = self._write_weights()
        record = await self.at().learner_desk.applied(
            self.run_id,
            incarnation=self.incarnation,
            step=self.step,
            group_ids=self.trained[self.step],
            refused=self.refused,
            path=path,
            digest=path,
            stats={"loss": 0.5},
        )
        self.version = record.version
        return record

    def save(self) -> None:
        """Write a checkpoint and say nothing of it yet."""
        self.saved = Saved(step=self.step, trained=dict(self.trained), lineage=tuple(self.lineage))

    async def checkpoint(self) -> None:
        """Write a checkpoint and report it."""
        self.save()
        await self.at().learner_desk.checkpointed(self.run_id, incarnation=self.incarnation, step=self.step)
        self.trained.clear()

    async def train(self, *, steps: int | None = None, checkpoint_every: int = 2) -> None:
        """Train so many more steps, or to the end of the run, which is saved."""
        until = None if steps is None else self.step + steps
        if until == self.step:
            return
        batch_by = time.monotonic() + DEADLINE_S
        async for frame in self.frames():
            assert time.monotonic() < batch_by, f"no batch for {DEADLINE_S} s: it waits for {self.heartbeats[-1:]}"
            if isinstance(frame, BatchFrame) and frame.step == self.step + 1:
                batch_by = time.monotonic() + DEADLINE_S
                try:
                    await self.apply(frame)
                except InvalidInput as refusal:
                    # A run that is cancelled during a step refuses its report; what else is refused is a fault.
                    try:
                        async with asyncio.timeout(_LAST_WORD_S):
                            await self.last_word()
                    except TimeoutError:
                        raise refusal from None
                    return
                if self.step % checkpoint_every == 0:
                    await self.checkpoint()
                if self.step == until:
                    return
        await self.checkpoint()
