"""Servers that get their weights by broadcast, and what becomes of them when anybody in it dies or is late."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from redis.asyncio import Redis

from inference.client import ServerClient, Timeouts
from inference.fake import Air, FailWith, FakeConfig, FakeServer, Hang, Leader, create_fake
from inference.protocol import ModelLimits
from scheduler.broadcast import Broadcasts, BroadcastSettings
from scheduler.core.broadcast import BroadcastBackend, BroadcastOffer, BroadcastOrder, Rendezvous, TensorSpec
from scheduler.core.lifecycle import ServerState
from scheduler.fleet import Fleet
from scheduler.state.versions import WeightRecord
from scheduler.weight_load import Loader
from scheduler.weights import WeightPusher
from tests.scheduler.state.stores import Stores

OFFER = BroadcastOffer(
    backend=BroadcastBackend.GLOO,
    buckets=tuple((TensorSpec(name=name, dtype="float32", shape=(2,)),) for name in ("first", "last")),
)


@dataclass
class Work:
    """A pusher at work on fake servers, and a learner that broadcasts."""

    fleet: Fleet
    fakes: list[FakeServer]
    stores: Stores
    pusher: WeightPusher
    broadcasts: Broadcasts
    air: Air
    orders: list[BroadcastOrder] = field(default_factory=list)
    on_bucket: Callable[[int], None] = lambda number: None
    """Called before each bucket is sent, counted from 1 in each round."""
    hangs: bool = False
    """The learner joins and then does nothing more, whatever it is told."""
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends a learner that hangs."""

    async def announce(self, version: int) -> None:
        record = WeightRecord(version=version, path=f"/w{version}", digest="d", step=0, announced_at=1.0)
        await self.stores.versions.announce(record)
        await self.pusher.announce(record)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    async def until_all(self, version: int) -> None:
        await self.until(lambda: self.states() == [(ServerState.HEALTHY, version)] * len(self.fakes))

    def states(self) -> list[tuple[ServerState, int]]:
        return [(view.state, view.version) for view in self.fleet.view()]

    def assert_clean(self, version: int) -> None:
        """Every server runs with these weights, and nothing of a round is left."""
        for fake in self.fakes:
            assert (fake.decoder.weights, fake.decoder.label) == (f"/w{version}", f"run/{version}")
            assert fake.ready
            assert fake.weight_groups.session is None
            assert not fake.weight_groups.groups

    async def learn(self) -> None:
        """A learner that offers, and carries out what it is ordered."""
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            while True:
                self.broadcasts.offer(OFFER)
                leader = Leader(self.air, "127.0.0.1", port)
                try:
                    order = await self.broadcasts.next_order(Rendezvous(address="127.0.0.1", port=port), wait_s=5.0)
                    if order is not None:
                        await self._carry_out(order, leader)
                finally:
                    # Its sockets close, however it ends.
                    leader.close()

    async def _carry_out(self, order: BroadcastOrder, leader: Leader) -> None:
        self.orders.append(order)
        if self.hangs:
            await leader.lead(order, [])
            await self.killed.wait()
            return
        leading = asyncio.create_task(leader.lead(order, self._buckets(order)))
        over = asyncio.create_task(self._over(order.group))
        await asyncio.wait({leading, over}, return_when=asyncio.FIRST_COMPLETED)
        if leading.done() and leading.exception() is None:
            await over
        leading.cancel()
        over.cancel()
        await asyncio.gather(leading, over, return_exceptions=True)

    def _buckets(self, order: BroadcastOrder) -> "Buckets":
        return Buckets(order.path.encode(), lambda number: self.on_bucket(number))

    async def _over(self, group: str) -> None:
        while not await self.broadcasts.is_over(group, wait_s=1.0):
            pass


class Buckets(list[bytes]):
    """A path in two halves, which stands for the weights there; `on_bucket` is called before each."""

    def __init__(self, content: bytes, on_bucket: Callable[[int], None]) -> None:
        super().__init__((content[:2], content[2:]))
        self._on_bucket = on_bucket

    def __iter__(self) -> Iterator[bytes]:
        for number, half in enumerate(super().__iter__(), start=1):
            self._on_bucket(number)
            yield half


@asynccontextmanager
async def broadcasting(
    redis: Redis, *, num_servers: int = 2, num_ranks: int = 1, step_s: float = 5.0, learner: bool = True
) -> AsyncIterator[Work]:
    air = Air()
    config = FakeConfig(
        air=air,
        num_ranks=num_ranks,
        received=bytes.decode,
        checkpoints=lambda path: path if path.startswith("/w") else None,
    )
    fakes = [FakeServer(config) for _ in range(num_servers)]
    clients = [
        ServerClient(
            f"http://fake{index}",
            ModelLimits(vocab_size=128, context_length=64),
            transport=httpx.ASGITransport(create_fake(fake)),
            timeouts=Timeouts(probe_s=0.5, control_s=0.5, update_s=5.0),
        )
        for index, fake in enumerate(fakes)
    ]
    fleet, stores = Fleet(clients, probe_interval_s=0.002), await Stores.open(redis)
    settings = BroadcastSettings(gather_s=0.3, order_s=0.3, join_s=step_s, step_s=step_s, margin_s=0.1)
    broadcasts = Broadcasts(run_id="run", settings=settings)
    share = fleet.share_for("run")
    pusher = WeightPusher(
        share, stores.versions, run_id="run", on_live=lambda: None, loader=Loader(broadcasts), retry_s=0.001
    )
    await share.take_over()
    work = Work(fleet, fakes, stores, pusher, broadcasts, air)
    loops = [asyncio.create_task(fleet.watch())]
    await work.until(lambda: all(state is ServerState.STALE for state, _ in work.states()))
    loops.append(asyncio.create_task(pusher.run()))
    if learner:
        loops.append(asyncio.create_task(work.learn()))
    try:
        yield work
        for loop in loops:
            assert not loop.done(), loop
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await fleet.aclose()


def by_disk(fake: FakeServer) -> bool:
    """Whether it ever loaded weights from disk: a broadcast leaves the path as it was."""
    return fake.model_path != fake.config.model_path


@pytest.mark.parametrize("num_ranks", [1, 2])
async def test_all_servers_get_a_version_in_one_round_and_none_from_disk(redis: Redis, num_ranks: int) -> None:
    async with broadcasting(redis, num_servers=3, num_ranks=num_ranks) as work:
        for version in (1, 2, 3):
            await work.announce(version)
            await work.until_all(version)
            work.assert_clean(version)
        assert [order.path for order in work.orders] == ["/w1", "/w2", "/w3"]
        assert {order.world_size for order in work.orders} == {1 + 3 * num_ranks}
        assert not any(by_disk(fake) for fake in work.fakes)
        record = await work.stores.versions.get(3)
        assert record is not None
        assert record.checksum == "/w3"


async def test_a_server_that_dies_in_a_round_fails_it_and_the_others_reload_from_disk(redis: Redis) -> None:
    async with broadcasting(redis) as work:
        await work.announce(1)
        await work.until_all(1)
        breaks = work.fleet.servers[0].breaks
        work.on_bucket = lambda number: work.fakes[1].die() if number == 2 else None
        await work.announce(2)
        await work.until(lambda: work.states()[0] == (ServerState.HEALTHY, 2))
        assert by_disk(work.fakes[0])
        assert work.fleet.servers[0].breaks == breaks + 1, "what it sampled meanwhile is not believed"
        work.on_bucket = lambda number: None
        work.fakes[1].restart()
        await work.until_all(2)
        work.assert_clean(2)
        await work.announce(3)
        await work.until_all(3)
        assert work.orders[-1].path == "/w3", "the next version is broadcast again"


async def test_a_learner_that_dies_in_a_round_leaves_nobody_waiting(redis: Redis) -> None:
    async with broadcasting(redis, learner=False) as work:
        learner = asyncio.create_task(work.learn())
        await work.until(lambda: bool(work.air.listening))
        await work.announce(1)
        await work.until_all(1)

        def die(number: int) -> None:
            if number == 2:
                learner.cancel()
                raise RuntimeError("killed")

        work.on_bucket = die
        await work.announce(2)
        await work.until_all(2)
        work.assert_clean(2)
        assert all(by_disk(fake) for fake in work.fakes)
        await asyncio.gather(learner, return_exceptions=True)
        await work.announce(3)
        await work.until_all(3)
        work.assert_clean(3)


async def test_a_learner_that_offers_and_never_asks_is_not_waited_for_twice(redis: Redis) -> None:
    async with broadcasting(redis, learner=False) as work:
        work.broadcasts.offer(OFFER)
        await work.announce(1)
        await work.until_all(1)
        work.assert_clean(1)
        assert all(by_disk(fake) for fake in work.fakes)


async def test_no_server_is_told_to_join_a_learner_that_cannot_be_reached(redis: Redis) -> None:
    """It would be of no use to anybody until torch gives up."""
    async with broadcasting(redis, learner=False) as work:
        work.broadcasts.offer(OFFER)
        asking = asyncio.create_task(work.broadcasts.next_order(Rendezvous(address="127.0.0.1", port=1), wait_s=60.0))
        await work.announce(1)
        await work.until_all(1)
        assert all(by_disk(fake) for fake in work.fakes)
        assert not asking.done()
        asking.cancel()


async def test_a_learner_that_hangs_holds_its_servers_no_longer_than_it_lives(redis: Redis) -> None:
    async with broadcasting(redis, step_s=0.2) as work:
        await work.announce(1)
        await work.until_all(1)
        work.hangs, breaks = True, [server.breaks for server in work.fleet.servers]
        await work.announce(2)
        await work.until(lambda: all(s.breaks > b for s, b in zip(work.fleet.servers, breaks, strict=True)))
        assert not any(fake.ready for fake in work.fakes), "they wait in the learner's group"
        work.killed.set()
        await work.until_all(2)
        work.assert_clean(2)


@pytest.mark.parametrize(
    "path",
    ["/init_weights_update_group", "/begin_weight_update", "/update_weights_from_distributed", "/end_weight_update"],
)
async def test_a_step_that_one_server_refuses_sends_all_to_the_disk(redis: Redis, path: str) -> None:
    async with broadcasting(redis, step_s=0.5) as work:
        await work.announce(1)
        await work.until_all(1)
        work.fakes[0].faults.order(path, FailWith(status=500), count=1 + (path == "/begin_weight_update"))
        await work.announce(2)
        await work.until_all(2)
        work.assert_clean(2)
        assert by_disk(work.fakes[0])


async def test_a_step_that_hangs_on_one_server_ends_at_its_deadline(redis: Redis) -> None:
    async with broadcasting(redis, step_s=0.2) as work:
        await work.announce(1)
        await work.until_all(1)
        work.fakes[0].faults.order("/update_weights_from_distributed", Hang())
        await work.announce(2)
        await work.until_all(2)
        work.assert_clean(2)


async def test_a_server_that_comes_late_has_a_round_of_its_own(redis: Redis) -> None:
    async with broadcasting(redis) as work:
        await work.announce(1)
        await work.until_all(1)
        work.fakes[1].faults.order("/pause_generation", Hang())
        await work.announce(2)
        await work.until(lambda: work.states()[0] == (ServerState.HEALTHY, 2))
        work.fakes[1].faults.release()
        await work.until_all(2)
        assert [order.world_size for order in work.orders] == [3, 2, 2]
        assert not any(by_disk(fake) for fake in work.fakes)


async def test_a_session_that_a_dead_scheduler_left_open_is_closed(redis: Redis) -> None:
    async with broadcasting(redis) as work:
        await work.announce(1)
        await work.until_all(1)
        work.fakes[0].weight_groups.session = []
        await work.announce(2)
        await work.until_all(2)
        work.assert_clean(2)
        assert not by_disk(work.fakes[0])


async def test_a_pusher_that_is_stopped_in_a_round_tells_the_learner_and_leaves_no_server_paused(redis: Redis) -> None:
    async with broadcasting(redis) as work:
        await work.announce(1)
        await work.until_all(1)
        work.fakes[0].faults.order("/update_weights_from_distributed", Hang())
        await work.announce(2)
        await work.until(lambda: len(work.orders) == 2 and bool(work.fakes[1].weight_groups.session))
    assert await work.broadcasts.is_over(work.orders[-1].group, wait_s=0.1)
    assert all(fake.ready for fake in work.fakes)
    assert all(view.state is ServerState.STALE for view in work.fleet.view())


async def test_a_pusher_can_be_stopped_while_a_learner_hangs_and_its_servers_with_it(redis: Redis) -> None:
    async with broadcasting(redis, step_s=0.1) as work:
        work.hangs, breaks = True, [server.breaks for server in work.fleet.servers]
        await work.announce(1)
        await work.until(lambda: all(s.breaks > b for s, b in zip(work.fleet.servers, breaks, strict=True)))
