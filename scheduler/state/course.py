"""The course of a run: its changes of state, its learners and schedulers, its stalls.

Owns: the capped list of what happened to a run as a whole. Never decides. Invariant: a change of the run is written
here in the transaction that makes it.
"""

from collections.abc import Sequence

import msgspec
from redis.asyncio import Redis

from scheduler.core.course import CourseEvent
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction

COURSE_LENGTH = 500


def remember(transaction: Transaction, event: CourseEvent) -> None:
    """Append to the run's capped course."""
    course = transaction.keys.course
    transaction.run("LPUSH", course, msgspec.json.encode(event))
    transaction.run("LTRIM", course, 0, COURSE_LENGTH - 1)


async def course(redis: "Redis", keys: RunKeys) -> Sequence[CourseEvent]:
    """The run's course, oldest first."""
    found = await redis.lrange(keys.course, 0, -1)
    return [msgspec.json.decode(event, type=CourseEvent) for event in reversed(found)]
