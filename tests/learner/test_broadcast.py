"""A learner broadcasts what it is ordered to, over real gloo, and nobody waits for it longer than it leads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from learner.broadcast import Broadcaster
from learner.buckets import stretches
from learner.model_files import WEIGHTS, CompanionFiles, load_model, send_model, write_model
from learner.ranks import Ranks
from learner.sharding import shard
from scheduler.core.broadcast import BroadcastBackend, BroadcastOrder
from scheduler.core.errors import ServerUnavailable, StaleIncarnation
from tests.learner.launch import on_ranks
from tests.learner.peers import Peer
from tests.learner.scripted_orders import ScriptedOrders

BUCKET_BYTES = 40_000


def a_broadcaster(link: ScriptedOrders, *, settle_s: float) -> Broadcaster:
    return Broadcaster(
        link,
        incarnation="i",
        backend=BroadcastBackend.GLOO,
        address="127.0.0.1",
        bucket_bytes=BUCKET_BYTES,
        retry_s=0.0,
        settle_s=settle_s,
    )


@asynccontextmanager
async def broadcasting(link: ScriptedOrders, *, settle_s: float = 0.1) -> AsyncIterator[Broadcaster]:
    broadcaster = a_broadcaster(link, settle_s=settle_s)
    running = asyncio.create_task(broadcaster.run())
    try:
        yield broadcaster
    finally:
        # A learner that leaves sees its round through.
        link.over.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def order_of(weights: Path, number: int = 1, *, world_size: int = 3, join_s: float = 20.0) -> BroadcastOrder:
    return BroadcastOrder(group=f"g{number}", path=str(weights), world_size=world_size, join_s=join_s, step_s=20.0)


@pytest.fixture
def sizes(tiny_checkpoint: Path) -> list[int]:
    return [stretch.num_bytes for stretch in stretches(tiny_checkpoint, BUCKET_BYTES)]


async def ended(peer: Peer) -> bool:
    return await asyncio.to_thread(peer.ended)


async def test_every_server_gets_every_bucket_round_after_round(tiny_checkpoint: Path, sizes: list[int]) -> None:
    link = ScriptedOrders()
    expected = [bytes(stretch.mapped(tiny_checkpoint)) for stretch in stretches(tiny_checkpoint, BUCKET_BYTES)]
    assert len(expected) > 2
    async with broadcasting(link) as broadcaster:
        await broadcaster.offer(tiny_checkpoint)
        for number in (1, 2):
            order = order_of(tiny_checkpoint, number)
            link.orders.put_nowait(order)
            place = await link.met.get()
            peers = [Peer(place, order, rank=rank, sizes=sizes) for rank in (1, 2)]
            assert all([await ended(peer) for peer in peers])
            assert [peer.failure for peer in peers] == ["", ""]
            assert [peer.taken for peer in peers] == [expected, expected]
            link.over.set()
        link.orders.put_nowait(order_of(tiny_checkpoint, 3, join_s=0.1))
        await link.met.get()
        assert broadcaster.num_sent == 2
    assert {len(offer.buckets) for offer in link.offers} == {len(expected)}


async def test_who_waits_in_a_round_is_freed_when_the_scheduler_ends_it(
    tiny_checkpoint: Path, sizes: list[int]
) -> None:
    link = ScriptedOrders()
    async with broadcasting(link):
        order = order_of(tiny_checkpoint, world_size=2)
        link.orders.put_nowait(order)
        place = await link.met.get()
        # It waits for one bucket more than there is.
        peer = Peer(place, order, rank=1, sizes=[*sizes, 8])
        assert await asyncio.to_thread(peer.took, len(sizes))
        link.over.set()
        assert await ended(peer)
        # "Closed" or "reset", whichever the kernel tells it first.
        assert peer.failure
        assert len(peer.taken) == len(sizes)


@pytest.mark.parametrize("is_told", [True, False], ids=["it is in a round", "the order is on its way"])
async def test_a_learner_that_leaves_sees_its_round_through(
    tiny_checkpoint: Path, sizes: list[int], is_told: bool
) -> None:
    link, order = ScriptedOrders(), order_of(tiny_checkpoint, world_size=2)
    broadcaster = a_broadcaster(link, settle_s=20.0)
    running = asyncio.create_task(broadcaster.run())
    await link.asked.wait()
    if is_told:
        link.orders.put_nowait(order)
        place = await link.met.get()
        await asyncio.sleep(0)
        running.cancel()
    else:
        running.cancel()
        await asyncio.sleep(0)
        link.orders.put_nowait(order)
        place = await link.met.get()
    # Only now does a server come that was told to join.
    peer = Peer(place, order, rank=1, sizes=sizes)
    assert await ended(peer)
    assert not peer.failure
    assert len(peer.taken) == len(sizes)
    assert not running.done()
    link.over.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert broadcaster.num_sent == 1


async def test_a_learner_that_nobody_has_told_anything_leaves_when_it_is_told_to() -> None:
    link = ScriptedOrders()
    running = asyncio.create_task(a_broadcaster(link, settle_s=0.0).run())
    await link.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_round_that_is_over_before_the_learner_knows_of_the_last_bucket_was_sent(
    tiny_checkpoint: Path, sizes: list[int]
) -> None:
    link = ScriptedOrders()
    async with broadcasting(link, settle_s=20.0) as broadcaster:
        order = order_of(tiny_checkpoint, world_size=2)
        link.orders.put_nowait(order)
        place = await link.met.get()
        link.over.set()
        peer = Peer(place, order, rank=1, sizes=sizes)
        assert await ended(peer)
        assert not peer.failure
        link.orders.put_nowait(order_of(tiny_checkpoint, 2, join_s=0.1))
        await link.met.get()
        assert broadcaster.num_sent == 1


async def test_who_waits_for_a_server_that_never_joins_is_freed_at_the_deadline(
    tiny_checkpoint: Path, sizes: list[int]
) -> None:
    link = ScriptedOrders()
    async with broadcasting(link) as broadcaster:
        order = order_of(tiny_checkpoint, world_size=3, join_s=2.0)
        link.orders.put_nowait(order)
        peer = Peer(await link.met.get(), order, rank=1, sizes=sizes)
        assert await ended(peer)
        assert peer.failure
        assert broadcaster.num_sent == 0
        # The next round is none the worse for it.
        again = order_of(tiny_checkpoint, 2, world_size=2)
        link.orders.put_nowait(again)
        peer = Peer(await link.met.get(), again, rank=1, sizes=sizes)
        assert await ended(peer)
        assert not peer.failure


async def test_weights_that_are_not_cut_as_offered_are_not_sent(
    tiny_checkpoint: Path, tmp_path: Path, sizes: list[int]
) -> None:
    link = ScriptedOrders()
    save_file({"weight": torch.zeros(10, dtype=torch.bfloat16)}, tmp_path / WEIGHTS)
    async with broadcasting(link) as broadcaster:
        await broadcaster.offer(tiny_checkpoint)
        other, order = order_of(tmp_path, 1, world_size=2), order_of(tiny_checkpoint, 2, world_size=2)
        link.orders.put_nowait(other)
        peer = Peer(await link.met.get(), other, rank=1, sizes=[20])
        assert await ended(peer)
        assert peer.failure, "it was freed, with nothing taken"
        assert not peer.taken
        link.orders.put_nowait(order)
        peer = Peer(await link.met.get(), order, rank=1, sizes=sizes)
        assert await ended(peer)
        assert not peer.failure


@pytest.mark.parametrize("make_path", [lambda path: path / "gone", lambda path: path], ids=["pruned", "there"])
async def test_nothing_that_goes_wrong_ends_the_learner(
    tiny_checkpoint: Path, make_path: Callable[[Path], Path], sizes: list[int]
) -> None:
    link = ScriptedOrders()
    async with broadcasting(link) as broadcaster:
        link.orders.put_nowait(ServerUnavailable("the scheduler restarts"))
        link.orders.put_nowait(order_of(make_path(tiny_checkpoint), world_size=2, join_s=0.5))
        await link.met.get()
        order = order_of(tiny_checkpoint, 2, world_size=2)
        link.orders.put_nowait(order)
        peer = Peer(await link.met.get(), order, rank=1, sizes=sizes)
        assert await ended(peer)
        assert not peer.failure
        assert broadcaster.num_sent <= 1


async def test_a_learner_that_was_replaced_stops_broadcasting() -> None:
    link = ScriptedOrders()
    link.orders.put_nowait(StaleIncarnation("another one is attached"))
    broadcaster = Broadcaster(link, incarnation="i", backend=BroadcastBackend.GLOO, address="127.0.0.1")
    async with asyncio.timeout(30):
        await broadcaster.run()


async def one_round(weights: Path) -> list[bytes]:
    """What a server gets of these weights."""
    link = ScriptedOrders()
    async with broadcasting(link) as broadcaster:
        await broadcaster.offer(weights)
        order = order_of(weights, world_size=2)
        link.orders.put_nowait(order)
        place = await link.met.get()
        peer = Peer(place, order, rank=1, sizes=[cut.num_bytes for cut in stretches(weights, BUCKET_BYTES)])
        assert await ended(peer)
        link.over.set()
    return peer.taken


def broadcast_of_shards(ranks: Ranks, checkpoint: Path, folder: Path) -> list[bytes]:
    """Rank 0 publishes and broadcasts, in a group of its own beside that of the ranks."""
    model = load_model(checkpoint, torch.device("cpu"))
    assert ranks.mesh is not None
    shard(model, ranks.mesh, autocast=torch.float32)
    taken: list[bytes] = []
    if ranks.leads:
        write_model(model, CompanionFiles.read(checkpoint), folder, dtype=torch.float32, ranks=ranks)
        taken = asyncio.run(one_round(folder))
    else:
        send_model(model, dtype=torch.float32)
    ranks.meet()
    return taken


def test_a_policy_in_shards_is_broadcast_as_one_in_a_piece(tiny_checkpoint: Path, tmp_path: Path) -> None:
    expected = [bytes(cut.mapped(tiny_checkpoint)) for cut in stretches(tiny_checkpoint, BUCKET_BYTES)]
    assert on_ranks(2, broadcast_of_shards, tiny_checkpoint, tmp_path / "weights") == [expected, []]
