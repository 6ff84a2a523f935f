"""What the roster asks of the settings, and how often."""

import httpx
from redis.asyncio import Redis

from inference.client import ServerClient
from inference.gateway import Gateway
from inference.protocol import ModelLimits
from scheduler.core.labels import Labels
from scheduler.fleet import Fleet, Roster, Traits
from scheduler.state.fleet_orders import FleetOrders

LIMITS = ModelLimits(vocab_size=128, context_length=64)
LABELS: dict[str, Labels] = {"http://a:1": {}, "http://b:1": {"gpu": "h100"}}


def connect(url: str) -> ServerClient:
    return ServerClient(url, LIMITS, transport=httpx.MockTransport(lambda _: httpx.Response(503)))


async def connect_named(url: str) -> ServerClient:
    return connect(url)


async def connect_gateway(url: str) -> Gateway:
    return Gateway(url)


async def test_a_member_is_not_described_again_at_each_look_for_labels_whether_it_has_any_or_not(redis: Redis) -> None:
    """Describing a server reads the whole file of servers and its keys, and labels are looked at every second."""
    described: list[str] = []

    def describe(url: str) -> Traits:
        described.append(url)
        return Traits(labels=LABELS[url])

    fleet = Fleet(())
    roster = Roster(
        fleet,
        FleetOrders(redis),
        connect=connect,
        connect_named=connect_named,
        connect_gateway=connect_gateway,
        describe=describe,
        configured=tuple(LABELS),
    )
    await roster.load()
    assert described == list(LABELS)
    assert [await roster.labels() for _ in range(3)] == [[{}, {"gpu": "h100"}]] * 3
    assert described == list(LABELS)
    await fleet.aclose()
