"""What a push does to requests in flight, how many servers it closes at a time, and where servers find the weights."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from inference.fake import FailWith, Hang
from inference.protocol import GenerateRequest
from scheduler.core.errors import Aborted
from scheduler.core.lifecycle import ServerState
from scheduler.core.path_map import MappedFolder, PathMap
from scheduler.core.roll_out import PauseMode, RollOut, RollOutOrder
from scheduler.core.types import Completion, Sampling, Stage
from scheduler.state.versions import WeightRecord
from tests.scheduler.test_weights import Pushing, pin_and_tell, pushing

ROLLING = RollOut(order=RollOutOrder.ROLLING)


async def attempt(work: Pushing, rid: str) -> Completion:
    """One attempt of four tokens, as a sender makes it."""
    async with work.share.slot(Stage.PILOT) as dispatch:
        request = GenerateRequest(
            rid=rid,
            run="run",
            version=dispatch.version,
            input_ids=(1, 2),
            sampling=Sampling(max_new_tokens=4, ignore_eos=True),
            sampling_seed=0,
            timeout_s=30.0,
        )
        try:
            return await dispatch.server.client.generate(request)
        except Aborted as error:
            await work.share.lost(dispatch, rid, error)
            raise


@asynccontextmanager
async def in_flight(work: Pushing) -> AsyncIterator[asyncio.Task[Completion]]:
    """Version 1 is live, and an attempt has one token of it when the block begins; time runs on after the block."""
    await work.announce(1)
    await work.until_live(1)
    fake = work.fakes[0]
    fake.hold()
    running = asyncio.create_task(attempt(work, "a"))
    await work.until(lambda: bool(fake.decoder.waiting))
    await fake.step()
    yield running
    fake.release()
    await asyncio.wait({running})


@pytest.mark.parametrize(("mode", "retractions"), [(PauseMode.RETRACT, 1), (PauseMode.IN_PLACE, 0)])
async def test_requests_in_flight_go_on_under_the_new_weights(redis: Redis, mode: PauseMode, retractions: int) -> None:
    async with pushing(redis, pause_mode=mode) as work:
        fake = work.fakes[0]
        async with in_flight(work) as running:
            [job] = fake.decoder.running
            await work.announce(2)
            await work.until_live(2)
            assert job.num_retractions == retractions
        completion = await running
        assert [(span.version, span.start, span.end) for span in completion.spans] == [(1, 0, 1), (2, 1, 4)]
        assert len(completion.logprobs) == 4
        # The prompt is the same; what is asked from now on is computed by the new weights from its beginning.
        assert (await attempt(work, "b")).spans[0].version == 2
        assert fake.decoder.stale_hits == 0


async def test_requests_in_flight_are_aborted_where_no_rollout_is_to_span_two_versions(redis: Redis) -> None:
    async with pushing(redis, pause_mode=PauseMode.ABORT) as work:
        async with in_flight(work) as running:
            await work.announce(2)
            # The pause waits until the request has had its last decode step.
            await work.until(lambda: work.fakes[0].paused == "abort")
            await work.fakes[0].step()
            await work.until_live(2)
        with pytest.raises(Aborted):
            await running
        assert work.fleet.servers[0].losses == 0, "it did as it was told"
        assert [span.version for span in (await attempt(work, "b")).spans] == [2]
        assert work.fakes[0].decoder.stale_hits == 0


async def test_a_server_whose_weights_are_in_doubt_is_flushed_even_in_place(redis: Redis) -> None:
    async with pushing(redis, pause_mode=PauseMode.IN_PLACE) as work:
        await work.announce(1)
        await work.until_live(1)
        fake = work.fakes[0]
        fake.faults.order("/weights_checker", FailWith(status=500))
        fake.faults.order("/weights_checker", Hang())
        await work.announce(2)
        await work.until(lambda: work.fleet.servers[0].breaks > 1)
        await work.until(lambda: fake.paused == "retract")
        await work.until(lambda: fake.weight_version == "run/2")
        fake.faults.release()
        await work.until_live(2)


def count(work: Pushing, state: ServerState, version: int) -> int:
    return work.states().count((state, version))


@asynccontextmanager
async def rolling(redis: Redis) -> AsyncIterator[Pushing]:
    """Version 1 is live on three servers, and each will hang when it is given another."""
    async with pushing(redis, num_servers=3, roll_out=ROLLING) as work:
        await work.announce(1)
        await work.until(lambda: count(work, ServerState.HEALTHY, 1) == 3)
        for fake in work.fakes:
            fake.faults.order("/update_weights_from_disk", Hang())
        await work.announce(2)
        yield work


async def updated_one_more(work: Pushing, done: int) -> None:
    """Wait until one server is closed after `done` others, and look whether a second one closes; let it go on."""
    await work.until(lambda: count(work, ServerState.UPDATING, 1) == 1 and count(work, ServerState.HEALTHY, 2) == done)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(server.takes_attempts for server in work.fleet.servers) == 2
    await work.until(lambda: sum(fake.paused is not None for fake in work.fakes) == 1)
    for fake in work.fakes:
        fake.faults.release()


async def test_rolling_closes_one_server_at_a_time(redis: Redis) -> None:
    async with rolling(redis) as work:
        for done in range(3):
            assert work.pusher.live_version == 1, "some still sample with it"
            await updated_one_more(work, done)
        await work.until_live(2)


async def test_an_evaluation_never_begins_in_the_middle_of_a_roll_out(redis: Redis) -> None:
    async with rolling(redis) as work:
        await updated_one_more(work, 0)
        pinning = asyncio.create_task(pin_and_tell(work.pusher, None))
        for done in (1, 2):
            await updated_one_more(work, done)
        assert await pinning == 2


async def test_servers_are_told_where_they_see_the_weights(redis: Redis) -> None:
    paths = PathMap([MappedFolder.parse("/learner/runs=/here=/w")])
    async with pushing(redis, paths=paths) as work:
        record = WeightRecord(version=1, path="/learner/runs/step-1", digest="d", step=0, announced_at=1.0)
        await work.stores.versions.announce(record)
        await work.pusher.announce(record)
        await work.until_live(1)
        assert work.fakes[0].model_path == "/w/step-1"
        assert (await work.record(1)).path == "/learner/runs/step-1", "the learner knows its folders by its own names"
