"""Slots: who gets one, who waits, who is told to give up."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.staleness import all_will_be_fresh
from scheduler.engine.pipeline import Pipeline, Slot
from scheduler.state.groups import GroupStatus
from tests.scheduler.engine.factories import make_entry


def make_pipeline(
    *, batch_size: int = 2, max_staleness: int = 1, version: int = 1, max_steps: int | None = None, pilot_cap: int = 64
) -> Pipeline:
    """A run whose learner's version is live."""
    pipeline = Pipeline(batch_size=batch_size, max_staleness=max_staleness, pilot_cap=pilot_cap, max_steps=max_steps)
    pipeline.change(policy_version=version)
    pipeline.set_live(version)
    return pipeline


async def ask(pipeline: Pipeline, visit_id: str, oldest: int | None = 1) -> asyncio.Task[Slot]:
    """A survivor that asks for a slot."""
    task = asyncio.create_task(pipeline.slot(visit_id, oldest))
    await asyncio.sleep(0)
    return task


async def settled(*tasks: asyncio.Task[Slot]) -> list[Slot | None]:
    """What each was told; None while it waits."""
    await asyncio.sleep(0)
    return [task.result() if task.done() else None for task in tasks]


async def test_slots_are_given_up_to_the_bound_and_not_beyond() -> None:
    pipeline = make_pipeline()
    asked = [await ask(pipeline, str(index), oldest=None) for index in range(6)]
    assert await settled(*asked) == [Slot.GRANTED] * 4 + [None] * 2
    assert (pipeline.outstanding, pipeline.free, len(pipeline.held)) == (4, 0, 2)
    for task in asked[4:]:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert pipeline.held == []


async def test_while_the_learner_has_a_batch_the_next_one_is_consumed_a_version_later() -> None:
    pipeline = make_pipeline(version=4)
    pipeline.change(put=[make_entry("free", oldest_version=4)])
    assert pipeline.next_batch_version == 4
    pipeline.change(put=[make_entry("taken", oldest_version=4, step=1)])
    assert pipeline.next_batch_version == 5
    pipeline.change(put=[make_entry("taken", status=GroupStatus.APPLIED, step=1)], policy_version=5, step=1)
    assert pipeline.next_batch_version == 5


async def test_a_survivor_that_can_no_longer_be_fresh_is_told_at_once() -> None:
    pipeline = make_pipeline()
    for index in range(4):
        await ask(pipeline, str(index))
    assert await settled(await ask(pipeline, "late")) == [Slot.TOO_STALE]


async def test_a_survivor_that_waits_is_told_when_it_has_become_too_stale() -> None:
    pipeline = make_pipeline()
    pipeline.set_live(-1)
    waiting = await ask(pipeline, "v")
    assert await settled(waiting) == [None]
    pipeline.change(policy_version=3)
    assert await settled(waiting) == [Slot.TOO_STALE]


async def test_the_oldest_pilots_get_the_next_slot() -> None:
    pipeline = make_pipeline(batch_size=1, max_staleness=3, version=3, max_steps=1)
    pipeline.change(put=[make_entry("a", oldest_version=3)])
    young, old = await ask(pipeline, "young", 3), await ask(pipeline, "old", 2)
    assert await settled(young, old) == [None, None], "the last step has its group"
    pipeline.change(drop=["a"])
    assert await settled(young, old) == [None, Slot.GRANTED]
    young.cancel()


async def test_a_step_frees_slots_only_for_what_will_be_fresh_after_it() -> None:
    """Counting the groups stepped on first and the version later would let the old weights sample for the new batch."""
    pipeline = make_pipeline(max_staleness=0)
    pipeline.change(put=[make_entry(str(index)) for index in range(2)])
    waiting = await ask(pipeline, "v", oldest=None)
    applied = [make_entry(str(index), status=GroupStatus.APPLIED, step=1) for index in range(2)]
    pipeline.change(put=applied, policy_version=2, step=1)
    assert await settled(waiting) == [None]
    pipeline.set_live(2)
    assert await settled(waiting) == [Slot.GRANTED]


async def test_nothing_is_sampled_for_a_version_that_the_learner_has_long_left() -> None:
    pipeline = make_pipeline()
    assert pipeline.free == 4
    pipeline.change(policy_version=2)
    assert pipeline.free == 2
    pipeline.change(policy_version=3)
    assert pipeline.free == 0
    pipeline.set_live(3)
    assert pipeline.free == 4


async def test_the_last_steps_get_only_the_groups_they_can_use() -> None:
    pipeline = make_pipeline(max_staleness=3, max_steps=2)
    assert (pipeline.groups_left, pipeline.free) == (4, 4)
    pipeline.change(put=[make_entry("a")])
    assert pipeline.free == 3
    pipeline.change(step=1)
    assert (pipeline.groups_left, pipeline.free) == (2, 1)


async def test_who_waits_when_the_steps_are_done_is_not_needed() -> None:
    pipeline = make_pipeline(max_steps=1)
    pipeline.change(put=[make_entry("a"), make_entry("b")])
    waiting = await ask(pipeline, "v")
    assert await settled(waiting) == [None], "an outstanding group may yet fail"
    applied = [make_entry(name, status=GroupStatus.APPLIED, step=1) for name in "ab"]
    pipeline.change(put=applied, policy_version=2, step=1)
    assert await settled(waiting) == [Slot.NOT_NEEDED]


async def test_a_published_group_keeps_the_slot_of_its_visit() -> None:
    pipeline = make_pipeline()
    pipeline.num_visits = 1
    await ask(pipeline, "v")
    pipeline.published_group(make_entry("v"))
    pipeline.ended("v")
    assert (pipeline.outstanding, len(pipeline.committing), pipeline.num_visits) == (1, 0, 0)


async def test_pilots_are_wanted_for_the_slots_that_are_free_and_not_spoken_for() -> None:
    pipeline = make_pipeline(batch_size=8, max_staleness=0)
    assert pipeline.claims_wanted > 8, "half of all prompts are expected to survive"
    for _ in range(200):
        pipeline.passed(True)
    wanted = pipeline.claims_wanted
    assert 8 <= wanted <= 9
    pipeline.num_visits = wanted
    assert pipeline.claims_wanted == 0


async def test_fewer_pilots_are_wanted_while_the_learner_has_a_batch() -> None:
    pipeline = make_pipeline(batch_size=8)
    pipeline.change(put=[make_entry(str(index)) for index in range(8)])
    eager = pipeline.claims_wanted
    pipeline.change(put=[make_entry(str(index), step=1) for index in range(8)])
    assert 8 <= pipeline.claims_wanted < eager


async def test_never_more_pilots_than_the_cap() -> None:
    pipeline = make_pipeline(batch_size=64, pilot_cap=10)
    for _ in range(500):
        pipeline.passed(False)
    assert pipeline.claims_wanted == 10


async def test_a_change_wakes_whoever_waits_and_one_that_came_before_is_not_missed() -> None:
    pipeline = make_pipeline()
    moment = pipeline.moment
    waiting = asyncio.create_task(pipeline.changed(moment, timeout_s=60.0))
    await asyncio.sleep(0)
    pipeline.wake()
    await waiting
    await pipeline.changed(moment, timeout_s=60.0)
    await pipeline.changed(pipeline.moment, timeout_s=0.0)


@given(
    st.integers(1, 3),
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(["pilot", "publish", "train", "push", "fail"]), st.integers(0, 9)), max_size=80),
)
def test_what_is_outstanding_can_always_be_trained_fresh(
    batch_size: int, max_staleness: int, events: list[tuple[str, int]]
) -> None:
    """The proof of core.staleness, on the real thing: whatever is granted, in whichever order it goes on."""

    async def play() -> None:
        pipeline = make_pipeline(batch_size=batch_size, max_staleness=max_staleness)
        names = map(str, itertools.count())
        for what, choice in events:
            published = sorted(pipeline.published(), key=lambda entry: entry.oldest_version)
            match what:
                case "pilot" if pipeline.live_version:
                    pipeline.num_visits += 1
                    oldest = pipeline.live_version if choice % 2 else max(1, pipeline.live_version - choice % 3)
                    await ask(pipeline, next(names), oldest)
                case "publish" if pipeline.committing:
                    name = sorted(pipeline.committing)[choice % len(pipeline.committing)]
                    oldest_version = pipeline.committing[name] or 0
                    pipeline.published_group(make_entry(name, oldest_version=oldest_version))
                    pipeline.ended(name)
                case "train" if len(published) >= batch_size:
                    stepped, rest = published[:batch_size], published[batch_size:]
                    left = [entry.oldest_version for entry in rest]
                    left += [oldest or 0 for oldest in pipeline.committing.values()]
                    if all_will_be_fresh(left, pipeline.policy_version + 1, batch_size, max_staleness):
                        gone = [entry.group_id for entry in stepped]
                        pipeline.change(drop=gone, policy_version=pipeline.policy_version + 1)
                case "push":
                    pipeline.set_live(pipeline.policy_version)
                case "fail" if pipeline.committing:
                    pipeline.ended(sorted(pipeline.committing)[choice % len(pipeline.committing)])
            await asyncio.sleep(0)
            versions = [entry.oldest_version for entry in pipeline.published()]
            versions += [oldest or 0 for oldest in pipeline.committing.values()]
            assert len(versions) == pipeline.outstanding <= (max_staleness + 1) * batch_size
            assert all_will_be_fresh(versions, pipeline.policy_version, batch_size, max_staleness)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(play())


@pytest.mark.parametrize("answer", list(Slot))
async def test_a_survivor_that_was_cancelled_leaves_nothing_behind(answer: Slot) -> None:
    pipeline = make_pipeline(max_steps=1)
    pipeline.num_visits = 1
    waiting = asyncio.create_task(pipeline.slot("v", {Slot.TOO_STALE: -5}.get(answer, 1)))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    pipeline.ended("v")
    assert (pipeline.held, pipeline.committing, pipeline.num_visits) == ([], {}, 0)
