"""Which run is at work, and what can be asked of the others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.errors import Conflict, InvalidInput, NotAtWork, NotFound
from scheduler.core.lifecycle import RunState, ServerState
from scheduler.service import Service
from scheduler.state.keys import PoolKeys, RunKeys
from scheduler.state.leases import Lease
from scheduler.state.runs import RunStore
from tests.scheduler.engine.factories import make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import LEASE_TTL_S, Rig, open_rig


@pytest.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler at work."""
    async with open_rig(redis, tmp_path) as opened:
        yield opened


def learner_of(rig: Rig, run_id: str) -> Learner:
    return Learner(at=lambda: rig.service, folder=rig.folder, run_id=run_id, incarnation=f"learner-of-{run_id}")


async def test_a_second_run_waits_until_the_first_has_ended(rig: Rig) -> None:
    await rig.create_run(make_config(max_steps=2), "first")
    await rig.create_run(make_config(max_steps=1), "second")
    first, second = learner_of(rig, "first"), learner_of(rig, "second")
    await first.attach()
    with pytest.raises(NotAtWork, match="it waits for run first to end: servers that it wants are theirs"):
        await rig.service.learner_desk.attach("second", incarnation="x", step=0, trained={})
    assert await rig.state("second") is RunState.QUEUED
    await first.train()
    await rig.ended("first")
    await second.attach()
    assert second.version == 1
    await second.train()
    await rig.ended("second")
    spans = {span.version for group in second.received.values() for done in group.rollouts for span in done.spans}
    assert spans == {1}, "nothing that a server left over from the first run confirms counts for the second"


async def test_a_run_that_has_ended_says_so(rig: Rig) -> None:
    await rig.create_run(make_config(max_steps=1), "run")
    learner = learner_of(rig, "run")
    await learner.attach()
    await learner.train()
    await rig.ended()
    with pytest.raises(Conflict, match="run run has ended: it is finished"):
        await rig.service.learner_desk.attach("run", incarnation="x", step=0, trained={})
    await rig.service.learner_desk.checkpointed("run", incarnation=learner.incarnation, step=1)
    frames = [frame async for frame in rig.service.learner_desk.stream("run", incarnation="anyone")]
    assert [getattr(frame, "state", None) for frame in frames] == ["finished"]


async def test_a_queued_run_can_be_paused_resumed_and_cancelled(rig: Rig) -> None:
    for run_id in ("first", "second", "third"):
        await rig.create_run(make_config(max_steps=1), run_id)
    await learner_of(rig, "first").attach()
    assert (await rig.service.orders.pause("second")).state is RunState.PAUSED
    with pytest.raises(Conflict, match="paused"):
        await rig.service.orders.pause("second")
    with pytest.raises(NotAtWork, match="it was paused before it began; `pilotcommit run resume second` queues it"):
        await rig.service.learner_desk.attach("second", incarnation="x", step=0, trained={})
    assert (await rig.service.orders.cancel("third")).state is RunState.CANCELLED
    with pytest.raises(Conflict, match="not paused"):
        await rig.service.orders.resume("third")
    await rig.service.orders.cancel("first")
    await rig.ended("first")
    # Paused before it began: it keeps the fleet from nobody.
    await rig.create_run(make_config(max_steps=1), "fourth")
    fourth = learner_of(rig, "fourth")
    await fourth.attach()
    await fourth.train()
    await rig.ended("fourth")
    await rig.service.orders.resume("second")
    await learner_of(rig, "second").attach()


async def test_a_run_that_was_cancelled_while_no_scheduler_held_it_is_wound_up_by_the_next(rig: Rig) -> None:
    await rig.create_run(make_config(), "run")
    learner = learner_of(rig, "run")
    rig.fakes[0].hold()
    await learner.attach()
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 8)
    await rig.crash()
    # The successor is up and waits for the lease: it cannot account for anything yet.
    rig.start()
    assert (await rig.service.orders.cancel("run")).state is not RunState.CANCELLED
    await rig.redis.delete(RunKeys("run").lease_alive)
    assert (await rig.ended()).record.state is RunState.CANCELLED


async def test_a_run_whose_pool_is_gone_fails_and_holds_up_nobody(rig: Rig) -> None:
    await rig.crash()
    await rig.create_pool("doomed", make_prompts([50]))
    rig.start()
    blocked = RunKeys("run")
    await Lease.acquire(rig.redis, blocked, holder="another", ttl_s=LEASE_TTL_S)
    await rig.create_run(make_config(pool="doomed"), "run")
    await rig.redis.delete(PoolKeys("doomed").meta)
    await rig.redis.delete(blocked.lease_alive)
    view = await rig.ended()
    assert (view.record.state, view.record.reason) == (RunState.FAILED, "there is no pool named doomed")
    await rig.create_run(make_config(max_steps=1), "next")
    await learner_of(rig, "next").attach()


async def test_a_run_is_refused_before_it_exists(rig: Rig) -> None:
    await rig.create_pool("empty", [])
    with pytest.raises(NotFound, match="no pool named missing"):
        await rig.create_run(make_config(pool="missing"))
    with pytest.raises(InvalidInput, match="has no prompts"):
        await rig.create_run(make_config(pool="empty"))
    with pytest.raises(InvalidInput, match="no allocator"):
        await rig.create_run(make_config(allocator="dice"))
    assert await rig.service.views.runs() == []


async def test_a_run_between_two_schedulers_is_not_at_work_and_its_view_is(rig: Rig) -> None:
    await rig.create_run(make_config(), "run")
    await learner_of(rig, "run").attach()
    await rig.crash()
    rig.start()
    with pytest.raises(NotAtWork, match="being taken up"):
        await rig.service.learner_desk.attach("run", incarnation="x", step=0, trained={})
    assert (await rig.view()).ledger.is_balanced


async def test_a_stop_lets_what_is_in_flight_come_back_and_gives_the_lease_up(rig: Rig) -> None:
    await rig.create_run(make_config(), "run")
    learner = learner_of(rig, "run")
    rig.fakes[0].hold()
    await learner.attach()
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 8)
    stopping = asyncio.create_task(rig.service.conductor.quiesce(grace_s=10.0))
    await asyncio.sleep(0)
    rig.fakes[0].release()
    await stopping
    await rig.stop()
    assert not await rig.redis.exists(RunKeys("run").lease_alive)
    visits = await rig.stores(make_config()).visits.open_visits()
    assert not any(any(visit.in_flight.values()) for visit, _ in visits)
    await rig.audit()
    rig.start()


async def test_a_service_is_ready_while_redis_answers(rig: Rig) -> None:
    assert await rig.service.conductor.is_ready() == ""
    service: Service = rig.service
    rig.connection.die()
    assert "Redis does not answer" in await service.conductor.is_ready()


async def test_a_second_scheduler_stands_by_says_so_and_leaves_servers_alone(rig: Rig) -> None:
    await rig.create_run(make_config(), "run")
    rig.fakes[0].hold()
    await learner_of(rig, "run").attach()
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 8)
    in_flight = rig.fakes[0].in_flight
    async with rig.standing_by() as standby:
        await rig.until(lambda: all(server.answers for server in standby.fleet.servers))
        await rig.until(lambda: _stands_by(standby))
        # A server that it meets anew, as after a restart, is another's to take over.
        await rig.fakes[0].pause("retract")
        standby.fleet.servers[0].state = ServerState.DEAD
        await rig.until(lambda: standby.fleet.servers[0].answers)
        assert not rig.fakes[0].ready
        assert set(in_flight) <= set(rig.fakes[0].in_flight)
        assert not rig.fakes[0].decoder.waiting or all(not job.abort_sent for job in rig.fakes[0].decoder.waiting)
    await rig.fakes[0].resume()
    rig.fakes[0].release()


async def test_a_standby_takes_over_when_the_lease_has_run_out(rig: Rig) -> None:
    await rig.create_run(make_config(max_steps=2), "run")
    await learner_of(rig, "run").attach()
    async with rig.standing_by() as standby:
        await rig.until(lambda: _stands_by(standby))
        await rig.crash()
        await rig.redis.delete(RunKeys("run").lease_alive)
        learner = Learner(at=lambda: standby, folder=rig.folder, incarnation="second")
        await learner.attach()
        assert await standby.conductor.is_ready() == ""
        await learner.train()
        await _finished(rig)


async def test_a_standby_finds_the_run_that_another_scheduler_was_asked_for(rig: Rig) -> None:
    await rig.crash()
    async with rig.standing_by() as standby:
        assert await standby.conductor.is_ready() == ""
        await RunStore(rig.redis).create(make_config(max_steps=1), now=1.0, run_id="run")
        learner = Learner(at=lambda: standby, folder=rig.folder)
        await learner.attach()
        await learner.train()
        await _finished(rig)


async def test_orders_at_a_standby_are_refused_or_reach_the_scheduler_at_work(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        await rig.crash()
        # Orders given elsewhere are seen when the lease is renewed.
        rig.lease_ttl_s = 3.0
        rig.start()
        await rig.create_run(make_config(), "run")
        await learner_of(rig, "run").attach()
        async with rig.standing_by() as standby:
            await rig.until(lambda: _stands_by(standby))
            with pytest.raises(NotAtWork, match="held by another scheduler"):
                await standby.orders.pause("run")
            assert (await standby.orders.cancel("run")).state is not RunState.CANCELLED
            assert (await rig.ended()).record.state is RunState.CANCELLED


async def test_a_budget_raised_at_a_standby_reaches_the_scheduler_at_work(redis: Redis, tmp_path: Path) -> None:
    async with open_rig(redis, tmp_path) as rig:
        await rig.crash()
        rig.lease_ttl_s = 1.0
        rig.start()
        await rig.create_run(make_config(budget=Budget(rollouts=24)), "run")
        rig.fakes[0].hold()
        await learner_of(rig, "run").attach()
        async with rig.standing_by() as standby:
            await rig.until(lambda: _stands_by(standby))
            assert (await standby.orders.raise_budget("run", Budget(rollouts=48))).config.budget.rollouts == 48

            async def has_claimed_more() -> bool:
                return (await rig.view()).counters.get("considered", 0) >= 6

            await rig.until(has_claimed_more)
        # The books are read one after the other: nobody is to write meanwhile.
        await rig.crash()
        await rig.audit("run")


async def _stands_by(service: Service) -> bool:
    return "standby: run run is held by another scheduler" in await service.conductor.is_ready()


async def _finished(rig: Rig) -> None:
    """Wait for the run's end under a scheduler that is not the rig's own."""

    async def has_finished() -> bool:
        return await rig.state() is RunState.FINISHED

    await rig.until(has_finished)
    await rig.audit_end()
