"""Which servers get attempts, in which order, and what makes a server lose them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from inference.client import ServerClient, Timeouts
from inference.fake import Drop, FakeConfig, FakeServer, Hang, create_fake
from inference.protocol import GenerateRequest, ModelLimits
from scheduler.core.errors import ForeignWeights, InferenceError, ServerUnavailable
from scheduler.core.lifecycle import ServerState
from scheduler.core.types import Sampling, Stage
from scheduler.fleet import Dispatch, Fleet, Server, Share
from tests.factories import make_completion

LOST = ServerUnavailable("no answer")


def make_fake(*, max_running: int = 256) -> FakeServer:
    return FakeServer(FakeConfig(weight_version="run/1", checkpoints=lambda path: path, max_running=max_running))


@asynccontextmanager
async def opened(*fakes: FakeServer, capacity: int = 8, probe_interval_s: float = 0.001) -> AsyncIterator[Fleet]:
    """A fleet that the run `run` owns; its servers are probed once and not HEALTHY yet."""
    clients = [
        ServerClient(
            f"http://fake{index}",
            ModelLimits(vocab_size=128, context_length=64),
            transport=httpx.ASGITransport(create_fake(fake)),
            timeouts=Timeouts(probe_s=0.2, control_s=0.2),
        )
        for index, fake in enumerate(fakes)
    ]
    fleet = Fleet(clients, capacity_per_server=capacity, probe_interval_s=probe_interval_s)
    await own(fleet, "run")
    watching = asyncio.create_task(fleet.watch())
    await until(fleet, lambda: all(server.answers for server in fleet.servers))
    watching.cancel()
    yield fleet
    await fleet.aclose()


async def own(fleet: Fleet, run_id: str) -> None:
    """Give the whole fleet to a run."""
    await fleet.share_for(run_id).take_over()


def share_of(fleet: Fleet) -> Share:
    """Of the run that owns the fleet."""
    share = fleet.servers[0].share
    assert share is not None
    return share


async def until(fleet: Fleet, condition: Callable[[], bool]) -> None:
    """Wait for the fleet's own news."""
    async with asyncio.timeout(30):
        while not condition():
            await fleet.news()


@asynccontextmanager
async def watched(fleet: Fleet) -> AsyncIterator[None]:
    watching = asyncio.create_task(fleet.watch())
    yield
    watching.cancel()


async def make_healthy(fleet: Fleet, *, version: int = 1) -> None:
    for server in fleet.servers:
        await update(fleet, server, version)


async def update(fleet: Fleet, server: Server, version: int) -> None:
    await fleet.set_state(server, ServerState.UPDATING)
    await fleet.set_state(server, ServerState.HEALTHY, version=version)


async def lose(fleet: Fleet, error: InferenceError = LOST, *, stage: Stage = Stage.PILOT) -> tuple[Server, bool]:
    """Send an attempt that does not come back."""
    async with share_of(fleet).slot(stage) as dispatch:
        return dispatch.server, await share_of(fleet).lost(dispatch, "rid", error)


async def test_a_new_server_is_stale_and_gets_nothing() -> None:
    async with opened(make_fake()) as fleet:
        assert fleet.view()[0].state is ServerState.STALE
        waiting = asyncio.create_task(lose(fleet))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        await make_healthy(fleet)
        await waiting


async def test_a_server_found_paused_is_told_to_continue_and_what_it_held_is_aborted() -> None:
    fake = make_fake()
    await fake.pause("in_place")
    async with opened(fake):
        assert fake.ready


async def test_a_fleet_that_no_run_owns_looks_at_servers_and_leaves_them_as_they_are() -> None:
    """Another scheduler may be in the middle of a push."""
    fake = make_fake()
    async with opened(fake) as fleet:
        fleet.release(share_of(fleet))
        fake.restart()
        await fake.pause("in_place")
        await fleet.set_state(fleet.servers[0], ServerState.DEAD)
        async with watched(fleet):
            await until(fleet, lambda: fleet.servers[0].answers)
        assert (fake.ready, fleet.view()[0].state) == (False, ServerState.STALE)
        await own(fleet, "run")
        assert fake.ready


async def test_a_run_that_is_over_leaves_no_server_paused_though_continue_fails_at_first() -> None:
    fake = make_fake()
    async with opened(fake, make_fake()) as fleet:
        await fake.pause("retract")
        fake.faults.order("/continue_generation", Drop(), count=2)
        await share_of(fleet).continue_all()
        assert fake.ready


async def test_a_server_that_will_not_continue_is_starting_until_it_does() -> None:
    fake = make_fake()
    fake.faults.order("/continue_generation", Drop(), count=2)
    async with opened(fake) as fleet:
        assert fleet.view()[0].state is ServerState.STALE


async def test_a_fleet_that_changes_hands_trusts_no_server_any_more() -> None:
    async with opened(make_fake(), make_fake()) as fleet:
        await make_healthy(fleet, version=7)
        fleet.release(share_of(fleet))
        await own(fleet, "another")
        assert {(view.state, view.version) for view in fleet.view()} == {(ServerState.STALE, 0)}


async def test_evaluations_go_ahead_of_commits_and_those_ahead_of_pilots() -> None:
    order: list[Stage] = []
    async with opened(make_fake(), capacity=1) as fleet:

        async def ask(stage: Stage) -> None:
            async with share_of(fleet).slot(stage):
                order.append(stage)
                await asyncio.sleep(0)

        asked = [Stage.PILOT, Stage.PILOT, Stage.COMMIT, Stage.EVAL, Stage.COMMIT]
        tasks = [asyncio.create_task(ask(stage)) for stage in asked]
        await asyncio.sleep(0)
        await make_healthy(fleet)
        await asyncio.gather(*tasks)
    assert order == [Stage.EVAL, Stage.COMMIT, Stage.COMMIT, Stage.PILOT, Stage.PILOT]


async def test_no_server_ever_has_more_in_flight_than_it_can_take() -> None:
    most = 0
    async with opened(make_fake(), make_fake(), capacity=3) as fleet, AsyncExitStack() as stack:
        await make_healthy(fleet)
        waiting = [asyncio.create_task(stack.enter_async_context(share_of(fleet).slot(Stage.PILOT))) for _ in range(9)]
        for _ in range(20):
            await asyncio.sleep(0)
            most = max(most, *(view.in_flight for view in fleet.view()))
        assert most == 3
        assert [view.in_flight for view in fleet.view()] == [3, 3]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await stack.aclose()
        assert [view.in_flight for view in fleet.view()] == [0, 0]


async def test_a_caller_that_gives_up_as_it_is_served_gives_its_place_back() -> None:
    async with opened(make_fake(), capacity=1) as fleet:
        waiting = asyncio.create_task(lose(fleet))
        await asyncio.sleep(0)
        await make_healthy(fleet)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert fleet.view()[0].in_flight == 0


async def test_an_attempt_that_is_made_again_goes_elsewhere() -> None:
    async with opened(make_fake(), make_fake()) as fleet:
        await make_healthy(fleet)
        first, gone = await lose(fleet)
        assert not gone
        async with share_of(fleet).slot(Stage.PILOT) as dispatch, share_of(fleet).slot(Stage.PILOT) as another:
            assert {dispatch.server, another.server} == set(fleet.servers) - {first}


async def test_a_lost_attempt_and_a_silent_server_are_a_server_that_is_gone() -> None:
    fake = make_fake()
    async with opened(fake) as fleet:
        await make_healthy(fleet)
        fake.die()
        _, gone = await lose(fleet)
        assert gone
        assert fleet.view()[0].state is ServerState.DEAD


async def test_a_server_that_misses_one_probe_gets_nothing_until_it_answers() -> None:
    fake = make_fake()
    async with opened(fake) as fleet:
        await make_healthy(fleet)
        server = fleet.servers[0]
        server.losses = 3
        fake.faults.order("/model_info", Drop())
        async with watched(fleet):
            await until(fleet, lambda: server.state is ServerState.SUSPECT)
            assert not server.is_open
            await until(fleet, lambda: server.state is ServerState.HEALTHY)
        assert (server.version, server.losses, server.deaths) == (1, 3, 0)


async def test_a_server_that_has_not_answered_yet_is_starting_and_says_why() -> None:
    fake = make_fake()
    fake.die()
    client = ServerClient(
        "http://fake0", ModelLimits(vocab_size=128, context_length=64), transport=httpx.ASGITransport(create_fake(fake))
    )
    fleet = Fleet([client], probe_interval_s=0.001)
    async with watched(fleet):
        async with asyncio.timeout(30):
            while fleet.servers[0].failed_probes < 3:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0)
        assert fleet.view()[0].state is ServerState.STARTING
        assert "cannot reach the server" in fleet.view()[0].reason
        fake.restart()
        await until(fleet, lambda: fleet.view()[0].state is ServerState.STALE)
    await fleet.aclose()


async def test_a_server_that_comes_back_is_stale_until_confirmed() -> None:
    fake = make_fake()
    async with opened(fake) as fleet, watched(fleet):
        await make_healthy(fleet)
        fake.die()
        await until(fleet, lambda: fleet.view()[0].state is ServerState.DEAD)
        fake.restart()
        await until(fleet, lambda: fleet.view()[0].state is ServerState.STALE)


@pytest.mark.parametrize("label", ["run/9", "default", "another/1"])
async def test_a_server_that_restarted_with_other_weights_is_found_out(label: str) -> None:
    fake = make_fake()
    async with opened(fake) as fleet, watched(fleet):
        await make_healthy(fleet)
        fake.restart(weight_version=label)
        await until(fleet, lambda: fleet.view()[0].state is ServerState.STALE)
        assert label in fleet.view()[0].reason


async def test_foreign_weights_are_enough_to_distrust_a_server() -> None:
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet)
        await lose(fleet, ForeignWeights("tokens of another run"))
        assert fleet.view()[0].state is ServerState.STALE
        assert fleet.view()[0].reason == "tokens of another run"


async def test_a_server_that_loses_everything_gets_nothing_more() -> None:
    """It answers errors faster than others answer, so it would draw ever more attempts."""
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet)
        for _ in range(7):
            await lose(fleet)
            assert share_of(fleet).num_healthy() == 1
        await lose(fleet)
        assert share_of(fleet).num_healthy() == 0
        assert "8 attempts in a row were lost" in fleet.view()[0].reason


async def test_one_answer_clears_what_was_lost_before() -> None:
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet)
        for _ in range(3):
            for _ in range(7):
                await lose(fleet)
            async with share_of(fleet).slot(Stage.PILOT) as dispatch:
                assert await share_of(fleet).vouched(dispatch, make_completion(), timeout_s=1.0) == ""
        assert share_of(fleet).num_healthy() == 1


async def test_a_server_that_somebody_else_paused_is_distrusted() -> None:
    fake = make_fake()
    async with opened(fake) as fleet:
        await make_healthy(fleet)
        await fake.pause("retract")
        await lose(fleet)
        assert "paused, and not by this scheduler" in fleet.view()[0].reason


async def test_a_lost_attempt_is_aborted_in_case_it_still_runs() -> None:
    fake = make_fake()
    fake.hold()
    async with opened(fake) as fleet:
        await make_healthy(fleet)
        running = asyncio.create_task(generate(fleet))
        while not fake.decoder.running:
            await fake.step()
        dispatch = Dispatch(server=fleet.servers[0], version=1, breaks=0)
        await share_of(fleet).lost(dispatch, "rid", LOST)
        await fake.step()
        assert not fake.decoder.running
        with pytest.raises(InferenceError, match="aborted"):
            await running


async def generate(fleet: Fleet, rid: str = "rid") -> None:
    request = GenerateRequest(
        rid=rid,
        run="run",
        version=1,
        input_ids=(1, 2),
        sampling=Sampling(max_new_tokens=4),
        sampling_seed=0,
        timeout_s=5.0,
    )
    await fleet.servers[0].client.generate(request)


async def attempt(fleet: Fleet, rid: str) -> None:
    async with share_of(fleet).slot(Stage.PILOT):
        await generate(fleet, rid)


async def test_a_server_gets_no_more_than_it_has_room_for() -> None:
    fake = make_fake(max_running=2)
    fake.hold()
    async with opened(fake, capacity=8) as fleet, watched(fleet):
        await make_healthy(fleet)
        server = fleet.servers[0]
        attempts = [asyncio.create_task(attempt(fleet, str(number))) for number in range(16)]
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(fake.decoder.waiting) == 8
        # The look that comes next fails, which changes nothing.
        fake.faults.order("/v1/loads", Drop(), count=1)
        await fake.step()
        await until(fleet, lambda: server.capacity < 8)
        assert server.state is ServerState.HEALTHY
        assert server.capacity >= 2
        fake.release()
        await asyncio.gather(*attempts)


async def test_a_completion_across_an_update_waits_for_its_confirmation() -> None:
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet)
        async with share_of(fleet).slot(Stage.PILOT) as dispatch:
            vouching = asyncio.create_task(share_of(fleet).vouched(dispatch, make_completion(version=2), timeout_s=5.0))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not vouching.done()
            await make_healthy(fleet, version=2)
            assert await vouching == ""


async def test_a_completion_across_an_update_that_failed_is_not_used() -> None:
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet)
        server = fleet.servers[0]
        async with share_of(fleet).slot(Stage.PILOT) as dispatch:
            vouching = asyncio.create_task(share_of(fleet).vouched(dispatch, make_completion(version=2), timeout_s=5.0))
            await asyncio.sleep(0)
            server.breaks += 1
            await fleet.set_state(server, ServerState.STALE)
            assert "failed to update" in await vouching
            # Nor later, when the version is confirmed: it was sampled before.
            await make_healthy(fleet, version=2)
            assert "failed to update" in await share_of(fleet).vouched(
                dispatch, make_completion(version=2), timeout_s=5.0
            )


async def test_a_version_that_is_never_confirmed_is_waited_for_within_bounds() -> None:
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet)
        async with share_of(fleet).slot(Stage.PILOT) as dispatch:
            assert "never confirmed" in await share_of(fleet).vouched(
                dispatch, make_completion(version=2), timeout_s=0.001
            )


async def test_a_token_older_than_what_was_confirmed_gives_a_restarted_server_away() -> None:
    async with opened(make_fake()) as fleet:
        await make_healthy(fleet, version=3)
        async with share_of(fleet).slot(Stage.PILOT) as dispatch:
            assert "answered with version 2" in await share_of(fleet).vouched(
                dispatch, make_completion(version=2), timeout_s=1.0
            )
        assert fleet.view()[0].state is ServerState.STALE


async def test_a_probe_that_an_update_overtook_changes_nothing() -> None:
    fake = make_fake()
    async with opened(fake, probe_interval_s=60.0) as fleet:
        await make_healthy(fleet)
        fake.faults.order("/model_info", Hang())
        async with watched(fleet):
            for _ in range(20):
                await asyncio.sleep(0)
            # The answer, once it comes, names the old weights.
            await update(fleet, fleet.servers[0], 2)
            fake.faults.release()
            for _ in range(20):
                await asyncio.sleep(0)
            assert fleet.view()[0].state is ServerState.HEALTHY


async def test_a_server_under_control_is_not_probed() -> None:
    fake = make_fake()
    async with opened(fake) as fleet:
        await make_healthy(fleet)
        async with fleet.servers[0].control:
            fake.die()
            _, gone = await lose(fleet)
            assert not gone
            assert fleet.view()[0].state is ServerState.HEALTHY, "whoever controls it will see for itself"
