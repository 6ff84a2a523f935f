"""The course of a run: what happened to it as a whole."""

import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.course import CourseEvent, Turn
from scheduler.core.lifecycle import RunState
from scheduler.state.course import COURSE_LENGTH, course
from scheduler.state.groups import Attachment
from tests.scheduler.state.stores import Stores, make_config


@pytest_asyncio.fixture
async def stores(redis: Redis) -> Stores:
    opened = await Stores.open(redis)
    await opened.runs.create(make_config(), now=1.0, run_id="run")
    return opened


async def _course(stores: Stores) -> list[CourseEvent]:
    return list(await course(stores.redis, stores.keys))


async def test_every_change_of_state_is_in_it_with_its_moment_and_its_reason(stores: Stores) -> None:
    await stores.runs.change_state(stores.transactor, RunState.QUEUED, RunState.PAUSED, reason="by hand", now=2.0)
    await stores.runs.settle_ending(stores.transactor, RunState.CANCELLED, reason="enough", now=3.0)
    assert await _course(stores) == [
        CourseEvent(at=2.0, what=Turn.STATE, state=RunState.PAUSED, reason="by hand"),
        CourseEvent(at=3.0, what=Turn.ENDING, state=RunState.CANCELLED, reason="enough"),
    ]
    record = await stores.runs.get("run")
    assert (record.ending, record.reason) == (RunState.CANCELLED, "enough")


async def test_a_learner_is_in_it_with_what_became_of_its_predecessors_groups(stores: Stores) -> None:
    attachment = Attachment(incarnation="second", step=4, redelivered=("a", "b"), rolled_back=("c",))
    await stores.groups.attach([], attachment, now=5.0, version=3)
    [event] = await _course(stores)
    assert (event.what, event.who, event.step) == (Turn.LEARNER, "second", 4)
    assert (event.trained, event.redelivered, event.rolled_back) == (0, 2, 1)


async def test_it_is_capped_and_keeps_the_newest(stores: Stores) -> None:
    for number in range(COURSE_LENGTH + 3):
        event = CourseEvent(at=float(number), what=Turn.STALL)
        await stores.runs.remember(stores.transactor, event)
    found = await _course(stores)
    assert (len(found), found[0].at) == (COURSE_LENGTH, 3.0)
