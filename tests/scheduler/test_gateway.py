"""Servers behind a gateway are attached one by one."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from inference.client import ServerClient
from inference.fake import FakeConfig, FakeServer, create_fake
from inference.protocol import ModelLimits
from scheduler.core.errors import InvalidInput
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.service import Service
from tests.inference.gateway_process import gateway
from tests.scheduler.served import listening


@pytest.fixture
async def service(redis: Redis) -> AsyncIterator[Service]:
    """A scheduler without a server, which reaches any."""
    fleet = Fleet(())
    limits = ModelLimits(vocab_size=128, context_length=64)
    yield Service(redis, fleet, RewardPool(1), EngineSettings(), connect=lambda url: ServerClient(url, limits))
    await fleet.aclose()


async def test_servers_behind_a_gateway_are_attached_one_by_one_and_those_that_come_later_when_asked_again(
    service: Service,
) -> None:
    fakes = [FakeServer(FakeConfig(random_seed=seed)) for seed in (1, 2)]
    async with listening(create_fake(fakes[0])) as one, listening(create_fake(fakes[1])) as two:
        async with gateway(one) as url:
            joined = await service.roster.add_behind(url, {"rack": "7"})
            assert [(view.url, view.labels) for view in joined.added] == [(one, {"rack": "7"})]
            with pytest.raises(InvalidInput, match="it is a gateway, which passes on") as refused:
                await service.roster.add(url)
            assert f"pilotcommit server add --gateway {url}" in str(refused.value)
        async with gateway(one, two) as url:
            joined = await service.roster.add_behind(url)
            assert [view.url for view in joined.present] == [one]
            assert [view.url for view in joined.added] == [two]
            assert joined.refused == {}


async def test_a_gateway_without_servers_and_what_is_none_are_refused(service: Service) -> None:
    async with listening(create_fake(FakeServer(FakeConfig()))) as server:
        with pytest.raises(InvalidInput, match="is no gateway: /workers answered 404"):
            await service.roster.add_behind(server)
    async with gateway() as url:
        with pytest.raises(InvalidInput, match="no server is behind"):
            await service.roster.add_behind(url)


async def test_a_server_behind_a_gateway_that_cannot_serve_is_told_with_its_reason(service: Service) -> None:
    fake = FakeServer(FakeConfig())
    async with listening(create_fake(fake)) as one, listening(create_fake(fake)) as twin, gateway(one, twin) as url:
        joined = await service.roster.add_behind(url)
        [added], [(refused, why)] = joined.added, joined.refused.items()
        assert {added.url, refused} == {one, twin}
        assert f"it is the same process as {added.url}" in why


async def test_only_servers_that_cannot_serve_are_an_error(service: Service) -> None:
    fake = FakeServer(FakeConfig())
    async with listening(create_fake(fake)) as one, listening(create_fake(fake)) as twin:
        await service.roster.add(one)
        async with gateway(twin) as url:
            with pytest.raises(InvalidInput, match=f"no server behind {url} can serve here: {twin}: "):
                await service.roster.add_behind(url)
