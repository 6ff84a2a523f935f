"""The directory a learner works in: one run, one learner at a time.

Owns: its layout and its lock. Never reads what is inside. Invariant: while one process is inside `WorkDir.held`, no
other is, and the lock falls with the process, however it dies. Two learners in one directory would write checkpoints of
two different histories over each other.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.errors import LearnerError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDir:
    """Where checkpoints and published weights of one run are."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """Only the learner reads these."""
        return self.root / "checkpoints"

    @property
    def weights(self) -> Path:
        """The servers read these."""
        return self.root / "weights"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create the layout and keep it to this process; raises LearnerError where another learner is at work in it."""
        for directory in (self.checkpoints, self.weights):
            directory.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise LearnerError(f"another learner works in {self.root}: stop it, or give this one its own") from exc
            yield
