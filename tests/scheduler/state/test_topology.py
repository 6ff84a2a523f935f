"""A Redis that is a part of several is refused by name; a Cluster of one node holds everything."""

from pathlib import Path

import pytest

from scheduler.core.errors import StateError
from scheduler.core.lifecycle import RunState
from scheduler.doctor.redis import redis as examine
from scheduler.state.connection import check, connect
from scheduler.state.survey import survey
from scheduler.state.topology import fault_of
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import open_rig
from tests.scheduler.state.other_redis import cluster, serving


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


@pytest.mark.parametrize("mode", ["server_mode", "redis_mode"])
def test_valkey_and_redis_name_their_mode_differently(mode: str) -> None:
    assert "Sentinel" in fault_of({mode: "sentinel"}, 1)
    assert fault_of({mode: "standalone", "role": "master"}, 1) == ""
