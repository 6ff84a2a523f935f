"""How a server gets its weights, what happens when it does not, and what an evaluation holds back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
from redis.asyncio import Redis

from inference.client import ServerClient, Timeouts
from inference.fake import Drop, FailWith, FakeConfig, FakeServer, Fault, Hang, create_fake
from inference.protocol import GenerateRequest, ModelLimits
from scheduler.broadcast import Broadcasts
from scheduler.core.errors import Conflict
from scheduler.core.lifecycle import ServerState
from scheduler.core.path_map import SAME_EVERYWHERE, MappedFolder, PathMap
from scheduler.core.roll_out import AT_ONCE, PauseMode, RollOut
from scheduler.core.types import Completion, Sampling, Stage
from scheduler.fleet import Fleet, Share, Traits
from scheduler.state.versions import WeightRecord, WeightState
from scheduler.weight_load import Loader
from scheduler.weights import WeightPusher
from tests.scheduler.state.stores import Stores


class Pushing:
    """A pusher at work on fake servers."""

    def __init__(
        self, fleet: Fleet, share: Share, fakes: list[FakeServer], pusher: WeightPusher, stores: Stores
    ) -> None:
        self.fleet = fleet
        self.share = share
        self.fakes = fakes
        self.pusher = pusher
        self.stores = stores
        self.lives: list[int] = []

    async def announce(self, version: int) -> None:
        """The learner publishes a version."""
        record = WeightRecord(version=version, path=f"/w{version}", digest="d", step=0, announced_at=1.0)
        await self.stores.versions.announce(record)
        await self.pusher.announce(record)

    async def until_live(self, version: int) -> None:
        await self.until(lambda: self.pusher.live_version >= version)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    async def record(self, version: int) -> WeightRecord:
        found = await self.stores.versions.get(version)
        assert found is not None
        return found

    def states(self) -> list[tuple[ServerState, int]]:
        return [(view.state, view.version) for view in self.fleet.view()]


@asynccontextmanager
async def pushing(
    redis: Redis,
    *,
    num_servers: int = 1,
    has_checksums: bool = True,
    update_s: float = 5.0,
    drain_s: float = 0.0,
    pause_mode: PauseMode = PauseMode.RETRACT,
    roll_out: RollOut = AT_ONCE,
    paths: PathMap = SAME_EVERYWHERE,
    own_paths: PathMap = SAME_EVERYWHERE,
) -> AsyncIterator[Pushing]:
    config = FakeConfig(has_checksums=has_checksums, checkpoints=lambda path: path if path.startswith("/w") else None)
    fakes = [FakeServer(config) for _ in range(num_servers)]
    clients = [
        ServerClient(
            f"http://fake{index}",
            ModelLimits(vocab_size=128, context_length=64),
            transport=httpx.ASGITransport(create_fake(fake)),
            timeouts=Timeouts(probe_s=0.5, control_s=0.5, update_s=update_s),
        )
        for index, fake in enumerate(fakes)
    ]
    fleet, stores = Fleet(clients, probe_interval_s=0.002), await Stores.open(redis)
    lives: list[int] = []
    fleet.servers[0].traits = Traits(paths=own_paths)
    share = fleet.share_for("run")
    pusher = WeightPusher(
        share,
        stores.versions,
        run_id="run",
        on_live=lambda: lives.append(pusher.live_version),
        retry_s=0.001,
        drain_s=drain_s,
        roll_out=roll_out,
        loader=Loader(Broadcasts(run_id="run"), pause_mode=pause_mode, paths=paths),
    )
    await share.take_over()
    loops = [asyncio.create_task(fleet.watch()), asyncio.create_task(pusher.run())]
    at_work = Pushing(fleet, share, fakes, pusher, stores)
    at_work.lives = lives
    try:
        yield at_work
        for loop in loops:
            assert not loop.done()
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await fleet.aclose()


async def test_every_server_gets_the_newest_version_and_then_takes_requests(redis: Redis) -> None:
    async with pushing(redis, num_servers=3) as work:
        await work.announce(1)
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 1)] * 3)
        await work.announce(2)
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 2)] * 3)
        assert [fake.weight_version for fake in work.fakes] == ["run/2"] * 3
        assert all(fake.ready for fake in work.fakes)
        await work.until(lambda: work.lives == [1, 2])
        first, second = await work.record(1), await work.record(2)
        assert (first.state, second.state) == (WeightState.SUPERSEDED, WeightState.LIVE)
        assert second.checksum == "/w2"
        assert second.push_s is not None


async def test_nothing_is_live_while_any_server_still_samples_with_an_older_version(redis: Redis) -> None:
    async with pushing(redis, num_servers=2) as work:
        await work.announce(1)
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 1)] * 2)
        work.fakes[1].faults.order("/update_weights_from_disk", Hang())
        await work.announce(2)
        await work.until_live(2)
        # The other one is closed: it may hang for as long as it likes.
        assert work.states() == [(ServerState.HEALTHY, 2), (ServerState.UPDATING, 1)]
        await work.announce(3)
        await work.until(lambda: work.states()[0] == (ServerState.HEALTHY, 3))
        work.fakes[1].faults.release()
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 3)] * 2)


@pytest.mark.parametrize(("drain_s", "retracted"), [(60.0, 0), (0.01, 1)], ids=["in time", "too long"])
async def test_what_is_in_flight_at_a_push_gets_its_time_to_end(redis: Redis, drain_s: float, retracted: int) -> None:
    async with pushing(redis, drain_s=drain_s) as work:
        await work.announce(1)
        await work.until_live(1)
        fake = work.fakes[0]
        fake.hold()

        async def attempt() -> Completion:
            async with work.share.slot(Stage.PILOT) as dispatch:
                return await dispatch.server.client.generate(
                    GenerateRequest(
                        rid="a",
                        run="run",
                        version=1,
                        input_ids=(1, 2),
                        sampling=Sampling(max_new_tokens=4, ignore_eos=True),
                        sampling_seed=0,
                        timeout_s=30.0,
                    )
                )

        answer = asyncio.create_task(attempt())
        await work.until(lambda: bool(fake.decoder.waiting))
        await fake.step()
        await work.announce(2)
        if retracted:
            await work.until_live(2)
        else:
            await work.until(lambda: work.fleet.servers[0].state is ServerState.DRAINING)
        fake.release()
        await work.until_live(2)
        versions = [span.version for span in (await answer).spans]
        assert versions == ([1, 2] if retracted else [1])


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/pause_generation", FailWith(status=500)),
        ("/pause_generation", Drop(after_acting=True)),
        ("/update_weights_from_disk", FailWith(status=400, message="no such file")),
        ("/update_weights_from_disk", Drop()),
        ("/update_weights_from_disk", Drop(after_acting=True)),
        ("/update_weights_from_disk", Hang()),
        ("/model_info", FailWith(status=503)),
        ("/weights_checker", FailWith(status=500)),
        ("/abort_request", Drop()),
        ("/continue_generation", FailWith(status=500)),
        ("/continue_generation", Drop(after_acting=True)),
    ],
    ids=str,
)
async def test_a_push_that_fails_anywhere_continues_the_server_and_is_made_again(
    redis: Redis, path: str, fault: Fault
) -> None:
    async with pushing(redis, update_s=0.05) as work:
        await work.announce(1)
        await work.until_live(1)
        if path == "/abort_request":
            work.fakes[0].faults.order("/update_weights_from_disk", FailWith(status=400))
        work.fakes[0].faults.order(path, fault)
        await work.announce(2)
        await work.until_live(2)
        assert work.fakes[0].ready
        assert work.states() == [(ServerState.HEALTHY, 2)]


async def test_weights_that_no_server_takes_leave_it_stale_and_running(redis: Redis) -> None:
    async with pushing(redis) as work:
        work.fakes[0].faults.order("/update_weights_from_disk", FailWith(status=400, message="bad shape"), count=10_000)
        await work.announce(1)
        await work.until(lambda: "bad shape" in work.fleet.view()[0].reason)
        await work.until(lambda: work.fakes[0].ready)
        assert work.pusher.live_version == 0
        assert (await work.record(1)).state is WeightState.PUSHING, "the intent is written before the first call"


async def test_what_was_in_flight_on_half_loaded_weights_is_never_vouched_for(redis: Redis) -> None:
    async with pushing(redis) as work:
        await work.announce(1)
        await work.until_live(1)
        breaks = work.fleet.servers[0].breaks
        work.fakes[0].faults.order("/weights_checker", FailWith(status=500))
        await work.announce(2)
        await work.until_live(2)
        assert work.fleet.servers[0].breaks == breaks + 1


async def test_servers_that_load_different_weights_are_not_both_trusted(redis: Redis) -> None:
    async with pushing(redis, num_servers=2) as work:
        wrong = FakeConfig(checkpoints=lambda path: "corrupt")
        await work.announce(1)
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 1)] * 2)
        work.fakes[1].config = wrong
        work.fakes[1].faults.order("/pause_generation", Hang())
        await work.announce(2)
        await work.until(lambda: work.states()[0] == (ServerState.HEALTHY, 2))
        work.fakes[1].faults.release()
        await work.until(lambda: "checksum corrupt, others with /w2" in work.fleet.view()[1].reason)
        assert work.states()[1][0] is not ServerState.HEALTHY


async def test_a_server_without_checksums_proves_itself_with_one_token(redis: Redis) -> None:
    async with pushing(redis, has_checksums=False) as work:
        work.fakes[0].faults.order("/generate", FailWith(status=500))
        await work.announce(1)
        await work.until(lambda: "500" in work.fleet.view()[0].reason)
        await work.until_live(1)
        assert (await work.record(1)).checksum == ""


async def test_a_server_that_lost_attempts_proves_that_it_generates_before_it_gets_more(redis: Redis) -> None:
    async with pushing(redis) as work:
        await work.announce(1)
        await work.until_live(1)
        work.fleet.servers[0].losses = 8
        work.fakes[0].faults.order("/generate", FailWith(status=500), count=3)
        await work.fleet.set_state(work.fleet.servers[0], ServerState.STALE)
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 1)])
        assert work.fakes[0].faults.take("/generate") is None, "three probes failed before one did not"


async def test_a_server_that_restarted_gets_the_current_version(redis: Redis) -> None:
    async with pushing(redis) as work:
        await work.announce(1)
        await work.announce(2)
        await work.until_live(2)
        work.fakes[0].restart()
        await work.until(lambda: work.fakes[0].weight_version == "run/2")
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 2)])
        assert work.lives[-1] == 2


async def test_versions_that_were_never_live_are_superseded_too(redis: Redis) -> None:
    """A learner keeps the files of versions that may still be loaded, and would never delete these."""
    async with pushing(redis) as work:
        async with held_back(work):
            await work.announce(2)
            await work.announce(3)
        await work.until_live(3)
        await work.until(lambda: 3 in work.lives)
        assert [(await work.record(version)).state for version in (1, 2, 3)] == [
            WeightState.SUPERSEDED,
            WeightState.SUPERSEDED,
            WeightState.LIVE,
        ]


@asynccontextmanager
async def held_back(work: Pushing) -> AsyncIterator[None]:
    """Version 1 is live and pinned."""
    await work.announce(1)
    await work.until_live(1)
    async with work.pusher.pinned(1) as version:
        assert version == 1
        yield


async def test_a_pinned_version_holds_back_newer_ones_and_still_reaches_servers_that_lack_it(redis: Redis) -> None:
    async with pushing(redis) as work:
        async with held_back(work):
            await work.announce(2)
            work.fakes[0].restart()
            await work.until(lambda: work.fakes[0].weight_version == "run/1")
            await work.until(lambda: work.states() == [(ServerState.HEALTHY, 1)])
        await work.until_live(2)


async def test_a_version_that_is_gone_cannot_be_pinned(redis: Redis) -> None:
    async with pushing(redis) as work:
        await work.announce(1)
        await work.announce(2)
        await work.until_live(2)
        with pytest.raises(Conflict, match="weight version 1 is gone: 2 is live"):
            async with work.pusher.pinned(1):
                raise AssertionError("not reached")


async def test_pins_and_pushes_take_turns(redis: Redis) -> None:
    """One evaluation after the other never keeps the newest weights away, nor the other way round."""
    async with pushing(redis) as work:
        measured: list[int] = []
        await work.announce(1)
        await work.until_live(1)

        async def evaluate_without_end() -> None:
            while True:
                async with work.pusher.pinned(None) as version:
                    measured.append(version)
                    await asyncio.sleep(0)

        evaluating = asyncio.create_task(evaluate_without_end())
        for version in range(2, 6):
            await work.announce(version)
            await work.until(partial(measured.__contains__, version))
        evaluating.cancel()
        assert set(measured) == {1, 2, 3, 4, 5}


async def test_a_successor_brings_back_the_version_that_an_evaluation_was_measuring(redis: Redis) -> None:
    async with pushing(redis) as work:
        records = [WeightRecord(version=n, path=f"/w{n}", digest="d", step=0, announced_at=1.0) for n in (1, 2)]
        for record in records:
            await work.stores.versions.announce(record)
        pinning = asyncio.create_task(pin_and_tell(work.pusher, 1))
        await asyncio.sleep(0)
        await work.pusher.recover(records, first=1)
        assert await pinning == 1
        await work.until_live(2)


async def pin_and_tell(pusher: WeightPusher, version: int | None) -> int:
    async with pusher.pinned(version) as pinned:
        return pinned


async def test_a_pusher_that_is_stopped_leaves_no_server_paused_or_updating(redis: Redis) -> None:
    async with pushing(redis) as work:
        await work.announce(1)
        await work.until_live(1)
        work.fakes[0].faults.order("/weights_checker", Hang())
        await work.announce(2)
        await work.until(lambda: not work.fakes[0].ready)
        fleet, fake = work.fleet, work.fakes[0]
    assert fake.ready
    assert fleet.view()[0].state is ServerState.STALE


async def test_a_pusher_that_is_stopped_while_it_continues_a_server_sees_it_through(redis: Redis) -> None:
    async with pushing(redis) as work:
        await work.announce(1)
        await work.until_live(1)
        fake = work.fakes[0]
        fake.faults.order("/continue_generation", Hang())
        await work.announce(2)
        await work.until(lambda: not fake.ready and fake.decoder.label == "run/2")
        for _ in range(100):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(fake.faults.release)
    assert fake.ready


async def test_a_server_that_sees_the_folder_elsewhere_than_the_others_is_told_where(redis: Redis) -> None:
    everywhere, own = PathMap([MappedFolder.parse("/w1=/w1=/w10")]), PathMap([MappedFolder.parse("/w1=/w1=/w11")])
    async with pushing(redis, num_servers=2, has_checksums=False, paths=everywhere, own_paths=own) as work:
        await work.announce(1)
        await work.until(lambda: work.states() == [(ServerState.HEALTHY, 1)] * 2)
        assert [fake.decoder.weights for fake in work.fakes] == ["/w11", "/w10"]


async def test_a_server_that_does_not_see_the_folder_says_where_it_looked_and_what_to_set(redis: Redis) -> None:
    async with pushing(redis, paths=PathMap([MappedFolder.parse("/w1=/here=/there")])) as work:
        await work.announce(1)
        await work.until(lambda: "cannot read" in work.fleet.view()[0].reason)
        reason = work.fleet.view()[0].reason
        assert "http://fake0 cannot read /there; the learner wrote /w1, and this host reads it at /here: " in reason
        assert "PILOTCOMMIT_PATH_MAP" in reason
        assert "PILOTCOMMIT_SERVERS_FILE" in reason
        assert "Failed to get weights iterator: no checkpoint at '/there'" in reason
        assert work.fakes[0].ready, "it is not left paused"
