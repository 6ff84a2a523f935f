"""A Redis that is a part of several is refused by name; a Cluster of one node holds everything."""

from pathlib import Path

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scheduler.core.errors import StateError
from scheduler.core.lifecycle import RunState
from scheduler.doctor.redis import redis as examine
from scheduler.state.connection import check, connect, why_silent
from scheduler.state.keys import SCHEMA, SCHEMA_VERSION
from scheduler.state.survey import survey
from scheduler.state.topology import fault_of
from tests.certificates import Authority
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import open_rig
from tests.scheduler.state.other_redis import behind_tls, cluster, serving


async def refused(port: int) -> str:
    """Why a server is refused at start, and what the doctor says of it."""
    client = connect(f"redis://127.0.0.1:{port}")
    try:
        with pytest.raises(StateError) as refusal:
            await check(client)
        assert (await survey(client)).topology == str(refusal.value)
    finally:
        await client.aclose()
    [found] = await examine(f"redis://127.0.0.1:{port}")
    assert (f"{found.said}: {found.todo}").endswith(str(refusal.value))
    return str(refusal.value)


async def test_a_sentinel_is_refused_with_what_to_name(tmp_path: Path) -> None:
    async with serving(tmp_path, "--sentinel") as port:
        assert await refused(port) == (
            "Redis is a Sentinel here, which keeps no data: "
            "name one Redis that holds every key, the primary that it watches"
        )


async def test_a_replica_is_refused_with_its_primary(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "primary") as primary,
        serving(tmp_path / "replica", "--replicaof", f"127.0.0.1 {primary}") as port,
    ):
        assert f"as its primary at 127.0.0.1:{primary} does" in await refused(port)


async def test_a_node_of_a_cluster_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async with cluster(tmp_path, num_nodes=2) as ports:
        for port in ports:
            assert "Redis is one of 2 nodes of a Cluster here, which share the keys" in await refused(port)


async def test_a_run_goes_to_its_end_on_a_cluster_of_one_node(tmp_path: Path) -> None:
    """It answers CROSSSLOT to a script or a transaction that touches two hash tags."""
    async with cluster(tmp_path / "redis", num_nodes=1) as [port]:
        redis = connect(f"redis://127.0.0.1:{port}")
        try:
            await check(redis)
            async with open_rig(redis, tmp_path, num_servers=2) as rig:
                await rig.create_run(make_config(max_steps=3))
                learner = Learner(at=lambda: rig.service, folder=tmp_path)
                await learner.attach()
                await learner.train()
                assert (await rig.ended()).record.state is RunState.FINISHED
        finally:
            await redis.aclose()


async def test_a_socket_of_this_machine_is_an_address(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    async with serving(tmp_path / "redis", "--unixsocket", str(socket)):
        client = connect(f"unix://{socket}?db=1")
        await check(client)
        assert await client.get(SCHEMA) == SCHEMA_VERSION.encode()
        await client.aclose()


async def test_a_redis_behind_tls_is_reached_and_its_authority_checked(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    async with serving(tmp_path / "redis") as port, behind_tls(port, authority.issue("127.0.0.1")) as secure:
        client = connect(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={authority.ca_file}")
        await check(client)
        await client.aclose()
        stranger = connect(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={other.ca_file}")
        stranger.set_retry(Retry(NoBackoff(), retries=0))
        assert "certificate verify failed" in await why_silent(stranger)
        await stranger.aclose()


@pytest.mark.parametrize("mode", ["server_mode", "redis_mode"])
def test_valkey_and_redis_name_their_mode_differently(mode: str) -> None:
    assert "Sentinel" in fault_of({mode: "sentinel"}, 1)
    assert fault_of({mode: "standalone", "role": "master"}, 1) == ""
