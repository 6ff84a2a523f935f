"""Group and batch frames in, batches to train on out: what a learner makes of the group stream.

Owns: which groups were delivered, which are trained, and which of a batch are too stale. Never does I/O and never
trains. Invariants: a group is given out in one step only, however often its frames come; a batch is exactly what its
frame names, fresh and refused together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from scheduler.core.errors import InvalidInput, LearnerError
from scheduler.core.staleness import is_fresh, staleness
from scheduler.core.types import Group
from scheduler.core.unreadable import UNREADABLE
from scheduler.frames import BatchFrame, GroupFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a learner has come, as far as the scheduler has to know: it belongs into every checkpoint."""

    step: int = 0
    """The last step that was trained."""
    trained: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Group ids by step, of the steps whose checkpoint the scheduler has not acknowledged."""

    def after(self, batch: "TrainingBatch") -> "Progress":
        """What it is once this batch is trained, whether or not that was reported: for a checkpoint made before."""
        return Progress(step=batch.step, trained={**self.trained, batch.step: batch.group_ids})

    def encode(self) -> bytes:
        """JSON, for a file beside the weights."""
        return msgspec.json.encode(
            {"step": self.step, "trained": {str(step): ids for step, ids in self.trained.items()}}
        )

    @classmethod
    def decode(cls, data: bytes) -> "Progress":
        """What `encode` wrote; raises InvalidInput for anything else."""
        try:
            return msgspec.json.decode(data, type=cls)
        except UNREADABLE as exc:
            raise InvalidInput(f"this is no progress of a learner: {exc}", field="progress") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """One training step: train on exactly these groups, then report it as applied."""

    step: int
    groups: tuple[Group, ...]
    refused: Mapping[str, int]
    """Staleness of the groups that became too stale on their way; they are reported and not trained."""

    @property
    def group_ids(self) -> tuple[str, ...]:
        """Ids of the groups to train on."""
        return tuple(group.group_id for group in self.groups)


class Taking:
    """What one learner incarnation was given, and what it has trained."""

    def __init__(self, progress: Progress) -> None:
        self._step = progress.step
        self._trained = dict(progress.trained)
        self._delivered: dict[str, Group] = {}

    @property
    def progress(self) -> Progress:
        """How far it has come now."""
        return Progress(step=self._step, trained=dict(self._trained))

    def deliver(self, frame: GroupFrame) -> None:
        """Keep a group for the batch that will name it; one of a step that is trained already has come again."""
        if frame.step > self._step:
            self._delivered[frame.group.group_id] = frame.group

    def batch(self, frame: BatchFrame, *, version: int, max_staleness: int) -> TrainingBatch | None:
        """The batch that a frame closes, at the policy's `version`; None for one that was trained already.

        Raises LearnerError where a step is missing, or a group was not delivered or is trained already.
        """
        if frame.step <= self._step:
            return None
        groups = self._named(frame)
        self._delivered.clear()
        refused = {
            group.group_id: staleness(version, group.oldest_version)
            for group in groups
            if not is_fresh(version, group.oldest_version, max_staleness)
        }
        fresh = tuple(group for group in groups if group.group_id not in refused)
        return TrainingBatch(step=frame.step, groups=fresh, refused=refused)

    def stepped(self, batch: TrainingBatch) -> None:
        """The batch is trained."""
        progress = self.progress.after(batch)
        self._step, self._trained = progress.step, dict(progress.trained)

    def saved(self) -> None:
        """Everything trained is in a checkpoint that the scheduler knows of."""
        self._trained.clear()

    def _named(self, frame: BatchFrame) -> list[Group]:
        if frame.step != self._step + 1:
            raise LearnerError(f"a batch of step {frame.step} after step {self._step}: a step is missing")
        if unknown := [group_id for group_id in frame.group_ids if group_id not in self._delivered]:
            raise LearnerError(f"step {frame.step} names groups that were not delivered: {', '.join(unknown)}")
        trained = {group_id for group_ids in self._trained.values() for group_id in group_ids}
        if again := trained.intersection(frame.group_ids):
            raise LearnerError(f"step {frame.step} names groups that are trained already: {', '.join(sorted(again))}")
        return [self._delivered[group_id] for group_id in frame.group_ids]
