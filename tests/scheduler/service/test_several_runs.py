"""Several runs on one fleet: who works at the same time, who waits and why, and what outlives a restart."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.core.addresses import server_id
from scheduler.core.errors import NotAtWork
from scheduler.core.labels import Labels
from scheduler.core.lifecycle import RunState
from scheduler.state.keys import RunKeys
from scheduler.state.runs import RunStore
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

H100, A100 = {"gpu": "h100"}, {"gpu": "a100"}
FIRST, SECOND = "http://fake0", "http://fake1"


def learner_of(rig: Rig, run_id: str) -> Learner:
    return Learner(at=lambda: rig.service, folder=rig.folder, run_id=run_id, incarnation=f"learner-of-{run_id}")


def owners(rig: Rig) -> dict[str, str]:
    return {view.url: view.run for view in rig.service.fleet.view()}


def has_taken_up(rig: Rig, run_id: str) -> bool:
    engine = rig.service.conductor.working(run_id)
    return engine is not None and engine.has_taken_up


async def begin(rig: Rig, run_id: str, wanted: Labels, *, max_steps: int = 1) -> Learner:
    """A run that a learner is attached to."""
    await rig.create_run(make_config(max_steps=max_steps, servers=wanted), run_id)
    learner = learner_of(rig, run_id)
    await learner.attach()
    return learner


async def test_runs_with_disjoint_labels_work_at_the_same_time_on_servers_of_their_own(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, labels=[H100, A100]) as rig:
        for fake in rig.fakes:
            fake.hold()
        one, two = await begin(rig, "one", H100), await begin(rig, "two", A100)
        assert owners(rig) == {FIRST: "one", SECOND: "two"}
        await rig.until(lambda: all(fake.in_flight for fake in rig.fakes))
        for fake in rig.fakes:
            fake.release()
        await two.train()
        await rig.ended("two")
        assert await rig.state("one") is RunState.RUNNING, "the end of another run is nothing to it"
        await one.train()
        await rig.ended("one")
        labels = [{str(fake.weight_version).split("/")[0]} for fake in rig.fakes]
        assert labels == [{"one"}, {"two"}]


async def test_a_queued_run_says_its_place_and_whom_it_waits_for_and_begins_once_the_servers_are_released(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, labels=[H100, A100]) as rig:
        one = await begin(rig, "one", H100)
        for run_id in ("all", "last"):
            await rig.create_run(make_config(max_steps=1), run_id)
        view = await rig.view("all")
        assert view.place is not None
        assert (view.place.position, view.place.behind) == (1, ("one",))
        assert view.waiting_for == "run one to end: servers that it wants are theirs"
        [_, _, last] = await rig.service.views.runs()
        assert last.place is not None
        assert (last.place.position, last.place.behind) == (2, ("one", "all"))
        with pytest.raises(NotAtWork, match="it waits for run one to end"):
            await learner_of(rig, "all").at().learner_desk.attach("all", incarnation="x", step=0, trained={})
        assert owners(rig) == {FIRST: "one", SECOND: ""}, "a server that a run further ahead wants is kept for it"
        await one.train()
        await rig.ended("one")
        learner = learner_of(rig, "all")
        await learner.attach()
        await rig.until(lambda: owners(rig) == {FIRST: "all", SECOND: "all"})
        assert (await rig.view("all")).place is None
        await rig.service.orders.cancel("last")
        await learner.train()
        await rig.ended("all")


async def test_a_run_whose_labels_no_server_has_says_so_and_begins_when_one_is_added(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path, labels=[A100]) as rig:
        await rig.create_run(make_config(max_steps=1, servers=H100), "lost")
        view = await rig.view("lost")
        assert view.place is not None
        assert view.place.position == 1
        assert "a server with gpu=h100: the servers of the fleet (1) have gpu=a100" in view.waiting_for
        other = await begin(rig, "other", {})
        await other.train()
        await rig.ended("other")
        added = await rig.service.roster.add(rig.launch(), H100)
        assert (added.labels, added.run) == (H100, "")
        learner = learner_of(rig, "lost")
        await learner.attach()
        await rig.until(lambda: owners(rig)[added.url] == "lost")
        await learner.train()
        await rig.ended("lost")


async def test_a_server_that_comes_later_goes_to_the_run_at_work_that_wants_it(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, labels=[H100, A100]) as rig:
        one, two = await begin(rig, "one", H100), await begin(rig, "two", A100)
        rig.fakes[1].hold()
        added = await rig.service.roster.add(rig.launch(), A100)
        await rig.until(lambda: rig.server(added.url).version == 1)
        assert owners(rig)[added.url] == "two"
        rig.fakes[1].release()
        for learner in (one, two):
            await learner.train()
        for run_id in ("one", "two"):
            await rig.ended(run_id)


async def test_a_released_server_goes_to_another_run_at_work_that_wants_it(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, labels=[H100, {"zone": "a"}]) as rig:
        one, two = await begin(rig, "one", H100), await begin(rig, "two", {"zone": "a"}, max_steps=2)
        both = await rig.service.roster.add(rig.launch(), {**H100, "zone": "a"})
        assert owners(rig)[both.url] == "one", "it began first"
        await one.train()
        await rig.ended("one")
        await rig.until(lambda: owners(rig)[both.url] == "two")
        await rig.until(lambda: rig.server(both.url).version >= 1)
        assert str(rig.fakes[2].weight_version).startswith("two/")
        await two.train()
        await rig.ended("two")


async def test_runs_at_work_queue_and_labels_outlive_a_restart(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=1, labels=[H100]) as rig:
        added = await rig.service.roster.add(rig.launch(), A100)
        await rig.service.roster.drain(server_id(added.url))
        await rig.service.roster.resume(server_id(added.url))
        await begin(rig, "one", H100, max_steps=2)
        await begin(rig, "two", A100, max_steps=2)
        await rig.create_run(make_config(max_steps=1), "third")
        await rig.crash()
        for run_id in ("one", "two"):
            await rig.audit(run_id)
            await rig.redis.delete(RunKeys(run_id).lease_alive)
        rig.start()
        learners = [learner_of(rig, run_id) for run_id in ("one", "two")]
        for learner in learners:
            await learner.attach()
        await rig.until(lambda: owners(rig) == {FIRST: "one", added.url: "two"})
        assert rig.server(added.url).labels == A100
        place = (await rig.view("third")).place
        assert place is not None
        assert place.behind == ("one", "two")
        for learner in learners:
            await learner.train()
        for run_id in ("one", "two"):
            await rig.ended(run_id)
        third = learner_of(rig, "third")
        await third.attach()
        await third.train()
        await rig.ended("third")


async def test_a_standby_begins_no_run_while_another_scheduler_has_one(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, num_servers=2, labels=[H100, A100]) as rig:
        await begin(rig, "one", H100)
        async with rig.standing_by() as standby:

            async def stands_by() -> bool:
                return "run one is held by another" in await standby.conductor.is_ready()

            await rig.until(stands_by)
            await begin(rig, "two", A100)
            assert standby.conductor.working("two") is None
            assert rig.service.conductor.working("two") is not None


async def test_a_run_paused_before_its_learner_came_keeps_its_servers_from_a_standby_and_over_a_restart(
    redis: Redis, tmp_path: Path
) -> None:
    async with open_rig(redis, tmp_path) as rig:
        await rig.create_run(make_config(max_steps=1), "one")
        await rig.until(lambda: has_taken_up(rig, "one"))
        await rig.create_run(make_config(max_steps=1), "two")
        assert (await rig.service.orders.pause("one")).state is RunState.PAUSED
        async with rig.standing_by() as standby:

            async def stands_by() -> bool:
                return "run one is held by another" in await standby.conductor.is_ready()

            await rig.until(stands_by)
            assert standby.conductor.working("two") is None
        await rig.crash()
        await rig.redis.delete(RunKeys("one").lease_alive)
        rig.start()
        await rig.until(lambda: has_taken_up(rig, "one"))
        assert owners(rig) == {FIRST: "one"}
        place = (await rig.view("two")).place
        assert place is not None
        assert place.behind == ("one",)
        await rig.service.orders.resume("one")
        learner = learner_of(rig, "one")
        await learner.attach()
        await learner.train()
        await rig.ended("one")


async def test_a_standby_knows_the_labels_of_servers_that_were_added_elsewhere(redis: Redis, tmp_path: Path) -> None:
    """Else a run that wants them would wait for ever once the scheduler that met them is gone."""
    async with open_rig(redis, tmp_path, labels=[A100]) as rig, rig.standing_by() as standby:
        added = await rig.service.roster.add(rig.launch(), H100)
        await rig.service.roster.drain(server_id(FIRST))
        await rig.crash()
        assert added.url not in {server.url for server in standby.fleet.servers}
        await RunStore(rig.redis).create(make_config(max_steps=1, servers=H100), now=1.0, run_id="run")
        learner = Learner(at=lambda: standby, folder=rig.folder)
        await learner.attach()
        assert {view.url: view.run for view in standby.fleet.view()} == {FIRST: "", added.url: "run"}
        await learner.train()

        async def has_finished() -> bool:
            return await rig.state("run") is RunState.FINISHED

        await rig.until(has_finished)
        await rig.audit_end("run")


async def test_a_server_that_is_leaving_is_none_to_wait_for(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path, labels=[H100]) as rig:
        rig.fakes[0].hold()
        one = await begin(rig, "one", H100)
        await rig.until(lambda: bool(rig.fakes[0].in_flight))
        await rig.service.roster.remove(server_id(FIRST), now=False)
        await rig.create_run(make_config(max_steps=1, servers=H100), "two")
        assert "the fleet has no servers" in (await rig.view("two")).waiting_for
        await rig.service.roster.resume(server_id(FIRST))
        assert "run one to end" in (await rig.view("two")).waiting_for
        rig.fakes[0].release()
        await rig.service.orders.cancel("two")
        await one.train()
        await rig.ended("one")
