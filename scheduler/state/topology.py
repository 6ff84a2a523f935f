"""What stands behind an address: one Redis, or a part of several.

Owns: telling these apart, and what is to be named instead. Never follows a redirection and never asks a Sentinel for a
primary. Invariant: our client speaks to one server, so whatever would answer only for a part of our keys, or for none,
is refused before anything is written.
"""

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import ResponseError

_ONE_REDIS = "name one Redis that holds every key"


async def topology_fault(redis: "Redis") -> str:
    """Why an address cannot hold our state, and what to do; empty if it can, or if its operators do not tell."""
    try:
        told = await redis.info()
    except ResponseError:
        return ""
    return fault_of(told, await _num_shards(redis) if told.get("cluster_enabled") else 1)


def fault_of(told: Mapping[str, object], num_shards: int) -> str:
    """The same of what INFO answers, and of how many nodes share the keys."""
    # Valkey calls it so; as of Redis 7 it is redis_mode.
    if "sentinel" in (told.get("server_mode"), told.get("redis_mode")):
        return f"Redis is a Sentinel here, which keeps no data: {_ONE_REDIS}, the primary that it watches"
    if told.get("role") == "slave":
        primary = f"{told.get('master_host')}:{told.get('master_port')}"
        return f"Redis is a replica here, which takes no writes: {_ONE_REDIS}, as its primary at {primary} does"
    if num_shards > 1:
        shared = f"Redis is one of {num_shards} nodes of a Cluster here, which share the keys"
        return f"{shared}: {_ONE_REDIS}, or a Cluster of one node"
    return ""


async def _num_shards(redis: "Redis") -> int:
    """How many nodes of a Cluster hold keys; 1 if this one does not tell."""
    try:
        told = await redis.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
    except ResponseError:
        return 1
    lines = (line.partition(":") for line in bytes(told).decode().splitlines())
    return next((int(value) for name, _, value in lines if name == "cluster_size"), 1)
