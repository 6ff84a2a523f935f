"""`python -m tests.chaos.processes.learner URL RUN FOLDER MODEL`: a learner that computes nothing and keeps a book.

Owns: the protocol between a learner and its scheduler, as the real one follows it, over the real link. Never looks at
anything but the stream and its own folder. Invariants: it refuses what is too stale; it resumes from its last
checkpoint; a group that it was trained on before ends the process, for the checker to see.
"""

import asyncio
import random
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from scheduler import logs
from scheduler.core.errors import InvalidInput
from scheduler.core.staleness import is_fresh, staleness
from scheduler.core.types import Group
from scheduler.frames import Attached, BatchFrame, FinalFrame, GroupFrame
from scheduler.learner_link import LearnerLink
from tests.chaos.learner_book import LearnerBook, Published, Saved

CHECKPOINT_EVERY = 3
_SLOWEST_STEP_S = 0.05
_PATIENCE_S = 120.0


@dataclass(slots=True, kw_only=True)
class StandInLearner:
    """One incarnation."""

    link: LearnerLink
    book: LearnerBook
    model: Path
    incarnation: str
    step: int
    lineage: dict[int, tuple[str, ...]]
    unreported: dict[int, tuple[str, ...]]
    version: int = 0
    taken: dict[str, Group] = field(default_factory=dict)

    async def run(self) -> None:
        """Attach and train until the run has had its last word."""
        attached = await self.link.attach(incarnation=self.incarnation, step=self.step, trained=self.unreported)
        weights = self._weights()
        self.version = await self.link.publish(
            incarnation=self.incarnation, step=self.step, path=str(weights.path), manifest_digest=weights.digest
        )
        async for frame in self.link.stream(incarnation=self.incarnation):
            match frame:
                case GroupFrame() if frame.step > self.step:
                    self.book.deliver(self.incarnation, frame)
                    self.taken[frame.group.group_id] = frame.group
                case BatchFrame() if frame.step > self.step:
                    await self._train(frame, attached)
                case FinalFrame():
                    await self._checkpoint()
                    return

    def _weights(self) -> Published:
        return self.book.publish(self.model, step=self.step, incarnation=self.incarnation)

    async def _train(self, batch: BatchFrame, attached: Attached) -> None:
        assert batch.step == self.step + 1, (batch.step, self.step)
        groups = [self.taken[group_id] for group_id in batch.group_ids]
        refused = {
            group.group_id: staleness(self.version, group.oldest_version)
            for group in groups
            if not is_fresh(self.version, group.oldest_version, attached.max_staleness)
        }
        fresh = tuple(group.group_id for group in groups if group.group_id not in refused)
        again = {group_id for group_ids in self.lineage.values() for group_id in group_ids} & set(fresh)
        assert not again, f"delivered again after they were trained: {again}"
        await asyncio.sleep(random.uniform(0.0, _SLOWEST_STEP_S))
        self.step = batch.step
        self.lineage[self.step] = self.unreported[self.step] = fresh
        self.taken.clear()
        weights = self._weights()
        self.version = await self.link.applied(
            incarnation=self.incarnation,
            step=self.step,
            group_ids=fresh,
            refused=refused,
            path=str(weights.path),
            manifest_digest=weights.digest,
            stats={"groups": float(len(fresh))},
        )
        self.book.prune(await self.link.weights_in_use())
        if self.step % CHECKPOINT_EVERY == 0:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        self.book.save(Saved(step=self.step, lineage=self.lineage, unreported=self.unreported))
        await self.link.checkpointed(incarnation=self.incarnation, step=self.step)
        self.unreported.clear()


async def train(url: str, run_id: str, folder: Path, model: Path) -> None:
    """One incarnation, from the last checkpoint to the run's end."""
    book = LearnerBook.opened(folder)
    saved = book.saved()
    async with LearnerLink(url, run_id, patience_s=_PATIENCE_S) as link:
        await StandInLearner(
            link=link,
            book=book,
            model=model,
            incarnation=uuid.uuid4().hex[:12],
            step=saved.step,
            lineage=saved.lineage,
            unreported=saved.unreported,
        ).run()


if __name__ == "__main__":
    logs.configure("INFO")
    try:
        asyncio.run(train(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
    except InvalidInput as error:
        sys.exit(f"learner: {error}")
