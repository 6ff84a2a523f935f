"""What happens to a run as a whole.

Owns: the kinds of turns a run takes, and one entry of its course. Never keeps them.
"""

from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.lifecycle import RunState


class Turn(StrEnum):
    """What happened to a run."""

    STATE = "state"
    """It went to another state."""
    ENDING = "ending"
    """It was settled what it is to end in, and why."""
    LEARNER = "learner"
    """A learner incarnation attached."""
    SCHEDULER = "scheduler"
    """A scheduler incarnation took it up."""
    STALL = "stall"
    """Nothing had progressed for a while."""
    BUDGET = "budget"
    """An operator raised its budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseEvent:
    """One entry of a run's course."""

    at: float
    """Seconds since the epoch."""
    what: Turn
    state: RunState | None = None
    """The state it went to, or is to end in."""
    reason: str = ""
    """Why; of a stall, what was waited for."""
    who: str = ""
    """The learner's incarnation."""
    step: int | None = None
    """The step that a learner resumed from."""
    trained: int = 0
    """Groups that the learner's checkpoint held and that were not yet known to be trained."""
    redelivered: int = 0
    """Groups of lost steps that were delivered again."""
    rolled_back: int = 0
    """Groups of lost steps that were too stale for that."""
