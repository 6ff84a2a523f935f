"""The stream and the learner's reports, on groups that are published by hand."""

import asyncio
import math
from contextlib import aclosing
from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, InvalidInput, StaleIncarnation
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from scheduler.engine.delivery import DeliverySettings
from scheduler.frames import BatchFrame, FinalFrame, HeartbeatFrame, PackedGroupFrame
from scheduler.state.groups import GroupStatus
from scheduler.state.versions import recent_versions
from tests.scheduler.engine.desk import Desk
from tests.scheduler.engine.factories import make_config
from tests.scheduler.state.stores import Stores

QUICK = DeliverySettings(heartbeat_s=0.01, patience_s=0.02)


async def test_a_batch_comes_with_its_groups_once_there_are_enough(desk: Desk) -> None:
    names = await desk.make_groups(3)
    frames = []
    async with aclosing(desk.delivery.frames(incarnation="a")) as stream, asyncio.timeout(30):
        async for frame in stream:
            frames.append(frame)
            if isinstance(frame, HeartbeatFrame):
                break
    assert [type(frame) for frame in frames] == [PackedGroupFrame, PackedGroupFrame, BatchFrame, HeartbeatFrame]
    assert frames[2] == BatchFrame(step=1, group_ids=tuple(names[:2]), policy_version=1)
    assert frames[3] == HeartbeatFrame(waiting_for=""), "the learner has its batch: nothing is waited for"


async def test_every_connection_of_a_learner_gets_the_batch_that_was_formed(desk: Desk) -> None:
    await desk.make_groups(2)
    first, second = await asyncio.gather(desk.take(), desk.take())
    # One that would have gone first, had it been there.
    await desk.make_groups(1, version=0)
    assert first == second == await desk.take()
    await desk.apply(first)


async def test_a_connection_that_breaks_while_a_batch_is_formed_leaves_memory_and_redis_agreeing(desk: Desk) -> None:
    for turns in range(40):
        await desk.make_groups(1)
        taking = asyncio.create_task(desk.take())
        for _ in range(turns):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        stored = {entry.group_id: entry.step for entry in await desk.stores.groups.entries()}
        assert stored == {name: entry.step for name, entry in desk.pipeline.groups.items()}


async def test_reporting_a_step_twice_changes_nothing(desk: Desk, redis: Redis) -> None:
    await desk.make_groups(4)
    batch = await desk.take()
    assert await desk.apply(batch) == 2
    assert await desk.apply(batch) == 2
    await desk.delivery.checkpointed(incarnation="a", step=1)
    await desk.delivery.checkpointed(incarnation="a", step=1)
    assert desk.announced == [1, 2]
    # Nor after the scheduler that took the report is gone.
    successor = await Desk.open(desk.stores, desk.folder, desk.config)
    assert await successor.apply(batch) == 2
    assert await successor.publish("w1", step=1) == 2
    assert successor.announced == []
    ledger = await desk.stores.audit()
    assert ledger.stages[Stage.COMMIT].outcomes[Outcome.TRAINED] == 4


async def test_each_version_keeps_what_was_spent_by_then_and_what_its_step_was_like(desk: Desk, redis: Redis) -> None:
    for step in (1, 2):
        await desk.make_groups(2)
        await desk.apply(await desk.take(), stats={"loss": 0.5 * step, "grad_norm": math.nan, "kl": -math.inf})
    kept = await recent_versions(redis, desk.stores.keys, count=9)
    # A group is four rollouts of two tokens; before the first step none was made.
    assert [(record.spent_rollouts, record.spent_tokens) for record in kept] == [(16, 32), (8, 16), (0, 0)]
    assert [record.stats for record in kept] == [{"loss": 1.0}, {"loss": 0.5}, {}]
    assert desk.delivery.stats == {"loss": 1.0}


async def test_a_step_whose_weights_did_not_move_still_makes_a_version(desk: Desk) -> None:
    await desk.make_groups(2)
    batch = await desk.take()
    record = await desk.delivery.applied(
        incarnation="a",
        step=1,
        group_ids=batch.group_ids,
        refused={},
        path=desk.weights("w0"),
        digest="w0",
        stats={},
    )
    assert record.version == 2


@pytest.mark.parametrize(
    ("step", "drop", "error", "match"),
    [
        (2, 0, Conflict, "step 2 is not the next one, which is 1"),
        (1, 1, InvalidInput, "not the batch of step 1"),
    ],
)
async def test_a_report_that_does_not_fit_is_refused_and_changes_nothing(
    desk: Desk, step: int, drop: int, error: type[InvalidInput], match: str
) -> None:
    await desk.make_groups(2)
    batch = await desk.take()
    with pytest.raises(error, match=match):
        await desk.apply(BatchFrame(step=step, group_ids=batch.group_ids[drop:], policy_version=1))
    assert await desk.apply(batch) == 2


async def test_a_step_that_was_not_applied_cannot_be_saved(desk: Desk) -> None:
    with pytest.raises(Conflict, match="step 3 was never reported"):
        await desk.delivery.checkpointed(incarnation="a", step=3)


async def test_weights_have_to_be_a_folder_that_is_there(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="is not a folder here"):
        await desk.delivery.publish(incarnation="a", step=0, path="/nowhere", digest="x")


async def test_refused_groups_expire(desk: Desk) -> None:
    names = await desk.make_groups(2)
    batch = await desk.take()
    await desk.apply(batch, refused={names[0]: 5})
    ledger = await desk.stores.audit()
    assert ledger.stages[Stage.COMMIT].outcomes[Outcome.EXPIRED] == 2
    assert list(desk.pipeline.groups) == [names[1]]


async def test_a_new_learner_gets_what_the_old_one_did_not_save(desk: Desk) -> None:
    saved, applied = await desk.make_groups(2), await desk.make_groups(2)
    await desk.apply(await desk.take())
    await desk.apply(await desk.take())
    await desk.delivery.attach(incarnation="b", step=1, trained={1: saved})
    for call in (desk.take(), desk.publish("w9", step=1), desk.delivery.checkpointed(incarnation="a", step=2)):
        with pytest.raises(StaleIncarnation):
            await call
    # Version 4 will be its own, so what was sampled at version 1 is too stale by then.
    assert desk.delivery.step == 1
    assert desk.pipeline.groups == {}
    ledger = await desk.stores.audit()
    assert ledger.stages[Stage.COMMIT].outcomes[Outcome.TRAINED] == 2 * len(saved)
    assert ledger.stages[Stage.COMMIT].outcomes[Outcome.ROLLED_BACK] == 2 * len(applied)


async def test_what_is_still_fresh_is_delivered_again(desk: Desk) -> None:
    names = await desk.make_groups(2)
    await desk.publish("again", step=0)
    fresh = await desk.make_groups(2, version=2)
    await desk.apply(await desk.take())
    await desk.delivery.attach(incarnation="b", step=0, trained={})
    assert all(entry.status is GroupStatus.PUBLISHED for entry in desk.pipeline.groups.values())
    assert set(desk.pipeline.groups) == set(fresh)
    assert await desk.publish("w0 again", step=0, incarnation="b") == 4
    assert set(names).isdisjoint(desk.pipeline.groups)


async def test_a_group_published_while_a_learner_attaches_is_not_forgotten(desk: Desk) -> None:
    for turns in range(12):
        late = await desk.stores.make_group(f"late{turns}")
        attaching = asyncio.create_task(desk.delivery.attach(incarnation=f"b{turns}", step=0, trained={}))
        for _ in range(turns):
            await asyncio.sleep(0)
        desk.pipeline.change(put=[late])
        await attaching
        assert {entry.group_id for entry in await desk.stores.groups.entries()} == set(desk.pipeline.groups)


async def test_the_last_word_ends_the_stream_and_a_new_learner_begins_another(desk: Desk) -> None:
    desk.delivery.last_word = FinalFrame(state="finished", reason="done")
    async with aclosing(desk.delivery.frames(incarnation="a")) as stream:
        assert [frame async for frame in stream] == [desk.delivery.last_word]
    await desk.delivery.attach(incarnation="b", step=0, trained={})
    assert desk.delivery.last_word is None


async def test_a_batch_whose_groups_are_dropped_on_their_way_is_never_named(redis: Redis, tmp_path: Path) -> None:
    desk = await Desk.open(await Stores.open(redis), tmp_path, make_config(batch_size=4))
    await desk.begin()
    await desk.make_groups(4)
    frames: list[object] = []
    async with aclosing(desk.delivery.frames(incarnation="a")) as stream:
        async for frame in stream:
            frames.append(frame)
            if len(frames) == 1:
                # What the end of a cancelled run does.
                await desk.delivery.drop(GroupStatus.PUBLISHED, Outcome.CANCELLED)
                desk.delivery.last_word = FinalFrame(state="cancelled", reason="cancelled")
    assert not any(isinstance(frame, BatchFrame) for frame in frames)
    assert frames[-1] == desk.delivery.last_word


async def test_no_batch_is_formed_past_the_last_step(redis: Redis, tmp_path: Path) -> None:
    desk = await Desk.open(await Stores.open(redis), tmp_path, make_config(batch_size=2, max_steps=1))
    await desk.begin()
    await desk.make_groups(4)
    await desk.apply(await desk.take())
    async with aclosing(desk.delivery.frames(incarnation="a")) as stream:
        assert await anext(stream) == HeartbeatFrame(waiting_for="")
    assert len(desk.pipeline.published()) == 2
    await desk.delivery.drop_surplus()
    assert desk.pipeline.published() == []
    await desk.delivery.drop(GroupStatus.APPLIED, Outcome.ROLLED_BACK)
    assert (await desk.stores.audit()).stages[Stage.PILOT].outcomes[Outcome.SURPLUS] == 4
