"""Servers that come and go while a run goes on."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inference.fake import FakeConfig, FakeServer, Hang
from scheduler.core.addresses import server_id
from scheduler.core.errors import Conflict, InvalidInput, NotFound
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import RunState, ServerState, Standing
from scheduler.core.types import Stage
from scheduler.state.fleet_orders import FleetOrders
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

FIRST, SECOND = "http://fake0", "http://fake1"


def is_confirmed(rig: Rig, url: str, version: int) -> bool:
    known = {view.url: (view.state, view.version) for view in rig.service.fleet.view()}
    return known.get(url) == (ServerState.HEALTHY, version)


async def begin(rig: Rig, *, max_steps: int | None = None) -> Learner:
    """A run at work, with version 1 on every server."""
    await rig.create_run(make_config(max_steps=max_steps))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await rig.until(lambda: all(is_confirmed(rig, view.url, 1) for view in rig.service.fleet.view()))
    return learner


async def test_a_run_goes_on_while_one_server_is_added_and_others_are_drained_and_removed(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        learner = await begin(rig, max_steps=6)
        await learner.train(steps=1)
        third = rig.launch()
        added = await rig.service.roster.add(third)
        assert (added.standing, added.state, added.in_flight) == (Standing.SERVING, ServerState.STARTING, 0)
        # It holds what the others hold before it gets its first attempt.
        await rig.until(lambda: is_confirmed(rig, third, learner.version))
        await learner.train(steps=1)
        await rig.until(lambda: rig.fakes[2].decoder.prefilled_tokens > 0)
        await rig.service.roster.drain(server_id(FIRST))
        await rig.until(lambda: rig.server(FIRST).in_flight == 0)
        drained, prefilled = rig.fakes[0].weight_version, rig.fakes[0].decoder.prefilled_tokens
        await learner.train(steps=2)
        assert (rig.fakes[0].weight_version, rig.fakes[0].decoder.prefilled_tokens) == (drained, prefilled)
        await rig.service.roster.remove(server_id(FIRST), now=False)
        await rig.service.roster.remove(server_id(SECOND), now=True)
        await rig.until(lambda: rig.members() == [third])
        await learner.train()
        view = await rig.ended()
        assert (view.record.state, view.record.step) == (RunState.FINISHED, 6)
        assert view.ledger.is_balanced


async def test_a_run_without_servers_waits_and_goes_on_with_the_next(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        learner = await begin(rig, max_steps=2)
        await rig.service.roster.remove(server_id(FIRST), now=True)
        await rig.until(lambda: not rig.service.fleet.view())
        view = await rig.view()
        assert view.record.state is RunState.RUNNING
        assert view.waiting_for == "a server: the fleet has none"
        await rig.service.roster.add(rig.launch())
        await learner.train()
        assert (await rig.ended()).record.state is RunState.FINISHED


async def test_a_drained_server_ends_what_it_has_and_resumes_with_the_current_weights(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path) as rig:
        fake = rig.fakes[0]
        fake.hold()
        learner = await begin(rig)
        await rig.until(lambda: rig.server(FIRST).in_flight >= 8)
        view = await rig.service.roster.drain(server_id(FIRST))
        assert (view.standing, view.in_flight >= 8) == (Standing.DRAINED, True)
        assert (await rig.view()).waiting_for == f"a server: {FIRST} is drained"
        fake.release()
        await rig.until(lambda: rig.server(FIRST).in_flight == 0)
        lost = sum(line.outcomes[Outcome.LOST] for line in (await rig.view()).ledger.stages.values())
        assert lost == 0
        # Weights that come meanwhile pass it by.
        await learner.publish("another")
        await asyncio.sleep(0)
        assert fake.weight_version == "run/1"
        with pytest.raises(Conflict, match="of the fleet already, drained: resume it instead"):
            await rig.service.roster.add(FIRST)
        await rig.service.roster.resume(server_id(FIRST))
        await rig.until(lambda: is_confirmed(rig, FIRST, 2))
        assert fake.weight_version == "run/2"


async def test_what_a_server_has_in_flight_is_waited_for_before_it_leaves_and_lost_if_told_so(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        for fake in rig.fakes:
            fake.hold()
        await begin(rig)
        await rig.until(lambda: all(rig.server(url).in_flight for url in (FIRST, SECOND)))
        leaving = await rig.service.roster.remove(server_id(FIRST), now=False)
        assert (leaving.standing, leaving.in_flight > 0) == (Standing.LEAVING, True)
        assert FIRST in rig.members()
        # It never answers again, and is not needed to.
        await rig.service.roster.remove(server_id(FIRST), now=True)
        await rig.until(lambda: FIRST not in rig.members())
        assert rig.fleet.servers[0].losses == 0, "nobody else is blamed"
        rig.fakes[1].release()

        async def charged() -> bool:
            return (await rig.view()).ledger.stages[Stage.PILOT].outcomes[Outcome.LOST] >= leaving.in_flight

        await rig.until(charged)
        rig.fakes[0].release()


async def test_a_removal_can_be_undone_before_its_end(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        rig.fakes[0].hold()
        await begin(rig)
        await rig.until(lambda: rig.server(FIRST).in_flight >= 8)
        await rig.service.roster.remove(server_id(FIRST), now=False)
        with pytest.raises(Conflict, match="is leaving: it cannot become drained"):
            await rig.service.roster.drain(server_id(FIRST))
        assert (await rig.service.roster.resume(server_id(FIRST))).standing is Standing.SERVING
        rig.fakes[0].release()
        await rig.until(lambda: is_confirmed(rig, FIRST, 1))


async def test_a_server_that_is_removed_in_the_middle_of_a_push_is_left_running(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        learner = await begin(rig)
        rig.fakes[0].faults.order("/update_weights_from_disk", Hang())
        await learner.publish("another")
        await rig.until(lambda: rig.fakes[0].paused is not None)
        tasks = {task for task in asyncio.all_tasks() if task.get_name().endswith(FIRST)}
        assert len(tasks) == 3
        await rig.service.roster.remove(server_id(FIRST), now=True)
        await rig.until(lambda: FIRST not in rig.members())
        await rig.until(lambda: rig.fakes[0].paused is None)
        await rig.until(lambda: all(task.done() for task in tasks))
        # It no longer holds the version back.
        await rig.until(lambda: is_confirmed(rig, SECOND, 2))


async def test_a_successor_knows_who_was_added_drained_and_removed(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=3) as rig:
        await begin(rig)
        added = rig.launch()
        await rig.service.roster.add(added)
        await rig.service.roster.drain(server_id(SECOND))
        await rig.service.roster.remove(server_id("http://fake2"), now=True)
        await rig.until(lambda: "http://fake2" not in rig.members())
        await rig.succeed("run")
        await rig.until(lambda: is_confirmed(rig, FIRST, 1) and is_confirmed(rig, added, 1))
        standings = {view.url: view.standing for view in rig.service.fleet.view()}
        assert standings == {FIRST: Standing.SERVING, SECOND: Standing.DRAINED, added: Standing.SERVING}
        # The settings still name the one that was removed: it is back once it is added again, and needs no order then.
        await rig.service.roster.add("http://fake2")
        assert set(await FleetOrders(redis).all()) == {SECOND, added}


async def test_a_removal_that_its_scheduler_did_not_live_to_see_is_carried_out(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        rig.fakes[0].hold()
        await begin(rig)
        await rig.until(lambda: rig.server(FIRST).in_flight >= 8)
        await rig.service.roster.remove(server_id(FIRST), now=False)
        await rig.fakes[0].pause("in_place")
        await rig.succeed("run")
        await rig.until(lambda: rig.members() == [SECOND])
        await rig.until(lambda: rig.fakes[0].paused is None)
        rig.fakes[0].release()


async def test_orders_that_another_scheduler_was_given_are_known_when_a_run_is_taken_up(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2) as rig:
        orders = FleetOrders(redis)
        await rig.service.roster.drain(server_id(FIRST))
        drained = (await orders.all())[FIRST]
        await rig.service.roster.resume(server_id(FIRST))
        await orders.put(FIRST, drained)
        await rig.create_run(make_config())
        await rig.until(lambda: rig.server(FIRST).standing is Standing.DRAINED)


async def test_who_cannot_serve_is_refused_with_the_reason(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        roster = rig.service.roster
        with pytest.raises(InvalidInput, match="is not an address"):
            await roster.add("fake1:30000")
        with pytest.raises(Conflict, match=r"http://fake0 is of the fleet already$"):
            await roster.add("HTTP://fake0/")
        rig.fakes.append(rig.fakes[0])
        with pytest.raises(
            InvalidInput, match="http://fake1 cannot serve here: it is the same process as http://fake0"
        ):
            await roster.add(SECOND)
        for order in (roster.drain, roster.resume):
            with pytest.raises(NotFound, match="there is no server s-none"):
                await order("s-none")
        with pytest.raises(NotFound):
            await roster.remove("s-none", now=True)
        assert rig.members() == [FIRST]


async def test_a_server_that_is_not_up_yet_joins_when_it_is(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        await begin(rig)
        url = rig.launch()
        rig.fakes[1].die()
        await rig.service.roster.add(url)
        await rig.until(lambda: "cannot reach the server" in rig.server(url).reason)
        rig.fakes[1].restart()
        await rig.until(lambda: is_confirmed(rig, url, 1))


async def test_a_twin_that_came_up_after_it_was_added_gets_nothing(redis: Redis, tmp_path: Path) -> None:
    """Two updates of one process at once would kill it."""
    async with open_rig(redis, tmp_path) as rig:
        await begin(rig)
        silent = FakeServer(FakeConfig())
        silent.die()
        rig.fakes.append(silent)
        await rig.service.roster.add(SECOND)
        silent.restart()
        silent.started_s = rig.fakes[0].started_s
        await rig.until(lambda: "the same process as http://fake0" in rig.server(SECOND).reason)
        await rig.until(lambda: rig.server(SECOND).state is ServerState.STALE)
        assert silent.weight_version == "default"
