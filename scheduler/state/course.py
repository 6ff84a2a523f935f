"""The course of a run: its changes of state, its learners and schedulers, its stalls.

Owns: the capped list of what happened to a run as a whole. Never decides. Invariant: a change of the run is written
here in the transaction that makes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from scheduler.core.lifecycle import RunState
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction

COURSE_LENGTH = 500


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


def remember(transaction: Transaction, event: CourseEvent) -> None:
    """Append to the run's capped course."""
    course = transaction.keys.course
    transaction.run("LPUSH", course, msgspec.json.encode(event))
    transaction.run("LTRIM", course, 0, COURSE_LENGTH - 1)


async def course(redis: "Redis", keys: RunKeys) -> Sequence[CourseEvent]:
    """The run's course, oldest first."""
    found = await redis.lrange(keys.course, 0, -1)
    return [msgspec.json.decode(event, type=CourseEvent) for event in reversed(found)]
