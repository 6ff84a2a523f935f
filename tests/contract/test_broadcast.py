"""Weights by broadcast: joining, taking buckets and leaving, on both servers, from a learner of ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from inference.control import WeightsUpdate
from inference.fake import Leader
from learner.buckets import Stretch, stretches
from learner.process_group import RankZero
from scheduler.core.broadcast import BroadcastBackend, BroadcastOrder, Rendezvous
from scheduler.core.errors import ControlFailed
from scheduler.core.types import VersionSpan
from tests.contract.recorded import recorded
from tests.contract.subject import Subject

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUCKET_BYTES = 60_000
_DEADLINE_S = 30.0


class Learner:
    """Rank 0 of a group with one server, whichever of the two that is."""

    def __init__(self, server: Subject, group: str, num_buckets: int | None = None) -> None:
        """It sends so many buckets of the new weights, all by default, and then nothing more until it is closed."""
        self.cut = stretches(server.new, BUCKET_BYTES)
        self.order = BroadcastOrder(
            group=group, path=str(server.new), world_size=2, join_s=_DEADLINE_S, step_s=_DEADLINE_S
        )
        self._server = server
        self._sent: list[Stretch] = list(self.cut[:num_buckets])
        self.close, self.port, self._lead = self._start()

    def _start(self) -> tuple[Callable[[], None], int, Callable[[], Awaitable[object]]]:
        contents = [stretch.mapped(self._server.new) for stretch in self._sent]
        if self._server.fake is not None:
            leader = Leader(self._server.fake.weight_groups.air)
            buckets = [bytes(content) for content in contents]
            return leader.close, 29600, lambda: leader.lead(self.order, buckets)
        rank_zero = RankZero("127.0.0.1", 0, BroadcastBackend.GLOO)
        return rank_zero.close, rank_zero.port, lambda: asyncio.to_thread(rank_zero.lead, self.order, contents)

    async def join(self) -> "asyncio.Future[object]":
        """Have the server join; the learner leads from then on."""
        leading = asyncio.ensure_future(self._lead())
        await self._server.client.join_weight_group(
            self.order.group,
            Rendezvous(address="127.0.0.1", port=self.port),
            first_rank=1,
            world_size=2,
            backend=BroadcastBackend.GLOO,
            timeout_s=_DEADLINE_S,
        )
        return leading


@asynccontextmanager
async def led(server: Subject, group: str, num_buckets: int | None = None) -> AsyncIterator[Learner]:
    learner = Learner(server, f"{server.run}-{group}", num_buckets)
    leading = await learner.join()
    try:
        yield learner
    finally:
        learner.close()
        await asyncio.gather(leading, return_exceptions=True)


async def test_a_broadcast_gives_the_same_weights_as_the_disk_does(server: Subject) -> None:
    await server.client.update_weights(server.new, server.label(2))
    from_disk = await server.client.checksum()
    await server.client.update_weights(server.old, server.label(3))
    assert await server.client.num_ranks() == 1
    await server.client.pause()
    async with led(server, "g") as learner:
        await server.client.begin_weights()
        for stretch in learner.cut:
            label = server.label(4) if stretch is learner.cut[-1] else None
            update = await server.client.receive_weights(learner.order.group, stretch.bucket, label, timeout_s=60.0)
            assert update is WeightsUpdate.APPLIED
            held = (await server.client.model_info()).weight_version
            assert held == str(label or server.label(3)), "it never names the new weights before it has them all"
        await server.client.end_weights()
        await server.client.leave_weight_group(learner.order.group)
    await server.client.resume()
    assert len(learner.cut) > 2
    assert await server.client.checksum() == from_disk
    assert (await server.client.generate(server.request("a"))).spans == (VersionSpan(version=4, start=0, end=4),)


async def test_a_learner_that_goes_away_frees_the_server_which_then_loads_from_disk(server: Subject) -> None:
    await server.client.pause()
    async with led(server, "broken", num_buckets=1) as learner:
        first, second, *_ = learner.cut
        await server.client.begin_weights()
        await server.client.receive_weights(learner.order.group, first.bucket, None, timeout_s=60.0)
        waiting = asyncio.create_task(
            server.client.receive_weights(learner.order.group, second.bucket, None, timeout_s=60.0)
        )
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        learner.close()
        with pytest.raises(ControlFailed, match="Failed to receive weights"):
            await waiting
    # The session is still open, and in nobody's way.
    assert await server.client.update_weights(server.new, server.label(2)) is WeightsUpdate.APPLIED
    await server.client.end_weights()
    await server.client.leave_weight_group(learner.order.group)
    await server.client.resume()
    assert (await server.client.generate(server.request("a"))).spans == (VersionSpan(version=2, start=0, end=4),)


async def test_a_server_that_waits_for_others_to_join_is_freed_when_the_learner_goes_away(server: Subject) -> None:
    learner = Learner(server, f"{server.run}-alone")
    joining = asyncio.create_task(
        server.client.join_weight_group(
            learner.order.group,
            Rendezvous(address="127.0.0.1", port=learner.port),
            first_rank=1,
            world_size=3,
            backend=BroadcastBackend.GLOO,
            timeout_s=60.0,
        )
    )
    await asyncio.wait({joining}, timeout=1.0)
    assert not joining.done()
    learner.close()
    with pytest.raises(ControlFailed, match="Failed to initialize custom process group"):
        await joining
    assert (await server.client.generate(server.request("a"))).spans[0].version == 1


@pytest.mark.parametrize(
    "names",
    [
        ["505_dist_without_group"],
        ["509_begin", "510_begin_twice", "512_end", "513_end_twice"],
        ["520_destroy_group_again"],
    ],
    ids=lambda names: names[-1],
)
async def test_what_is_out_of_turn_is_refused_as_recorded(server: Subject, names: list[str]) -> None:
    for name in names:
        call = recorded(name)
        body = dict(call.request) | {"load_format": "flattened_bucket"} if isinstance(call.request, dict) else {}
        answer = await server.post(call.path, body)
        assert (answer.status_code, answer.json()) == (call.status, call.response)


async def test_joining_and_leaving_answer_as_recorded(server: Subject) -> None:
    joined, left = recorded("506_init_group"), recorded("519_destroy_group")
    learner = Learner(server, f"{server.run}-wire")
    leading = asyncio.ensure_future(learner._lead())
    body = dict(joined.request) if isinstance(joined.request, dict) else {}
    body |= {"master_port": learner.port, "group_name": learner.order.group}
    answer = await server.post(joined.path, body)
    assert (answer.status_code, answer.json()) == (joined.status, joined.response)
    answer = await server.post(left.path, {"group_name": learner.order.group})
    assert (answer.status_code, answer.json()) == (left.status, left.response)
    learner.close()
    await asyncio.gather(leading, return_exceptions=True)
