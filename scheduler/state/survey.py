"""What a Redis server is, and whether it may lose what we keep in it.

Owns: the questions and the judgement. Never writes. Invariant: what is refused at start is what is found at fault here.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from scheduler.state import keys
from scheduler.state.topology import topology_fault
from scheduler.state.wire import text

OLDEST_VERSION = (7, 0)
"""Of the protocol and the commands that the transaction script uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a server says of itself. None is what it does not tell: managed servers often forbid CONFIG."""

    product: str
    """Redis or Valkey, with its own version."""
    version: tuple[int, ...]
    """Of Redis, as far as it is compatible."""
    eviction: str | None
    """maxmemory-policy."""
    append_only: bool | None
    fsync: str | None
    """appendfsync: always, everysec or no."""
    used_bytes: int
    max_bytes: int
    """maxmemory; 0 is no limit."""
    topology: str = ""
    """Why it is only a part of what holds our keys, as `topology_fault` says; empty if it is the whole."""
    schema: str | None
    """Version of what we keep there; None in a database that we have not used."""


async def survey(redis: "Redis") -> Survey:
    """Ask a server; raises what its client raises if it does not answer."""
    info = {**await redis.info("server"), **await redis.info("memory")}
    # A Sentinel has no keys, and a node of a Cluster not this one.
    fault = await topology_fault(redis)
    valkey = info.get("valkey_version")
    return Survey(
        product=f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', '?')}",
        version=version_of(str(info.get("redis_version", ""))),
        eviction=await setting(redis, "maxmemory-policy"),
        append_only=_switched(await setting(redis, "appendonly")),
        fsync=await setting(redis, "appendfsync"),
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        topology=fault,
        schema=text(held) if (held := None if fault else await redis.get(keys.SCHEMA)) is not None else None,
    )


async def setting(redis: "Redis", name: str) -> str | None:
    """One setting of the server; None where its operators do not let it be read."""
    try:
        answer = await cast("Awaitable[Mapping[str, Any]]", redis.config_get(name))
    except ResponseError:
        return None
    value = answer.get(name)
    return None if value is None else str(value)


def version_of(told: str) -> tuple[int, ...]:
    """The numbers of a version; empty where there are none."""
    numbers = told.split(".")
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()


def eviction_fault(policy: str | None) -> str:
    """Why a maxmemory-policy loses our keys, and what to do; empty if it does not, or is not known."""
    if policy in (None, "noeviction"):
        return ""
    return (
        f"Redis evicts keys under memory pressure (maxmemory-policy {policy}): "
        "run CONFIG SET maxmemory-policy noeviction"
    )


def schema_fault(held: str | None) -> str:
    """Why this release cannot use a database, and what to do; empty if it can."""
    if held in (None, keys.SCHEMA_VERSION):
        return ""
    return (
        f"Redis holds schema version {held}, this release writes {keys.SCHEMA_VERSION}: "
        "point it at an empty database or run the matching release"
    )


def _switched(value: str | None) -> bool | None:
    return None if value is None else value == "yes"
