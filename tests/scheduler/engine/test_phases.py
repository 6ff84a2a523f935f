"""What a run says of itself, whatever it waits for."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from scheduler.core.lifecycle import RunState
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig


async def says(rig: Rig, text: str) -> None:
    """Wait until the run says so."""

    async def said() -> bool:
        return text in (await rig.view()).waiting_for

    await rig.until(said)


async def test_a_run_says_what_it_waits_for_from_its_first_moment_to_its_last(rig: Rig, learner: Learner) -> None:
    await rig.create_run(make_config(max_steps=1))
    await says(rig, "a learner to attach")
    assert await rig.state() is RunState.WAITING_WEIGHTS
    await rig.service.learner_desk.attach("run", incarnation=learner.incarnation, step=0, trained={})
    await says(rig, "the learner to publish its weights")
    await learner.publish()
    await says(rig, "the learner to apply step 1")
    assert await rig.state() is RunState.RUNNING
    batch = await learner.take()
    assert batch is not None
    await learner.apply(batch)
    await says(rig, "the learner to save step 1, its last one")
    await learner.checkpoint()
    view = await rig.ended()
    assert (view.record.state, view.record.reason) == (RunState.FINISHED, "all 1 steps are done")


async def test_a_run_without_a_server_says_what_is_wrong_with_each(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        learner = Learner(at=lambda: rig.service, folder=tmp_path)
        for fake in rig.fakes:
            fake.die()
        await rig.create_run(make_config(max_steps=1))
        await learner.attach()
        await says(rig, "http://fake0 is dead: GET /model_info: cannot reach the server")
        await says(rig, "http://fake1 is dead")
        for fake in rig.fakes:
            fake.restart()
        await learner.train()
        await rig.ended()


async def test_pausing_between_two_moves_of_the_engine_never_stops_it(rig: Rig, learner: Learner) -> None:
    """An operator and the engine may both want to move the run, from the same state."""
    await rig.create_run(make_config(max_steps=2))
    await learner.attach()
    for _ in range(20):
        await asyncio.gather(rig.service.orders.pause("run"), return_exceptions=True)
        await asyncio.gather(rig.service.orders.resume("run"), return_exceptions=True)
    await learner.train()
    assert (await rig.ended()).record.state is RunState.FINISHED
