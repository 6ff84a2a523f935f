"""A seam for chaos tests: the process kills itself at a chosen point.

Owns: the points and the counting. Never does anything unless the environment variable PILOTCOMMIT_FAULT says so, as
`point:n`: SIGKILL at the n-th passing of that point, counted from 1. No cleanup runs, as in a real kill.
"""

import os
import signal
from enum import StrEnum

from scheduler.core.errors import InvalidInput

VARIABLE = "PILOTCOMMIT_FAULT"


class FaultPoint(StrEnum):
    """Where a learner can be told to die."""

    TAKING = "taking"
    """A group has arrived and is not yet in a batch."""
    STEPPING = "stepping"
    """The weights have moved and nobody has been told."""
    BEFORE_CHECKPOINT = "before_checkpoint"
    """A step is reported and a checkpoint of it is due."""
    AFTER_CHECKPOINT = "after_checkpoint"
    """A checkpoint is complete and not yet reported."""


class Fault:
    """Counts passings of one point."""

    def __init__(self, point: FaultPoint | None = None, passings: int = 1) -> None:
        self._point = point
        self._left = passings

    @classmethod
    def parse(cls, text: str | None) -> "Fault":
        """Read `point:n`; nothing or an empty text gives a fault that never strikes. Raises InvalidInput."""
        if not text:
            return cls()
        point, _, count = text.partition(":")
        try:
            passings = int(count)
            if passings < 1:
                raise ValueError(f"{passings} passings")
            return cls(FaultPoint(point), passings)
        except ValueError as exc:
            points = ", ".join(FaultPoint)
            raise InvalidInput(
                f"{VARIABLE}={text!r} is not `point:n` with a point of {points} and n >= 1", field=VARIABLE
            ) from exc

    def strikes(self, point: FaultPoint) -> bool:
        """Count one passing of `point` and say whether it is the fatal one."""
        if point is not self._point:
            return False
        self._left -= 1
        return self._left == 0

    def passing(self, point: FaultPoint) -> None:
        """Die here if this is the chosen passing of the chosen point."""
        if self.strikes(point):
            os.kill(os.getpid(), signal.SIGKILL)
