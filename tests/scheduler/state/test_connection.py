"""The connection, and what is demanded of the server behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scheduler.core.errors import SchemaMismatch, StateError
from scheduler.state import keys
from scheduler.state.connection import check, connect, why_silent
from tests.scheduler.state.lossy_link import lossy_link


@asynccontextmanager
async def eviction(redis: Redis, policy: str) -> AsyncIterator[None]:
    """The server under another maxmemory policy."""
    await redis.config_set("maxmemory-policy", policy)
    try:
        yield
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_an_empty_server_is_marked_with_our_schema_version(redis: Redis) -> None:
    await check(redis)
    await check(redis)
    assert await redis.get(keys.SCHEMA) == keys.SCHEMA_VERSION.encode()


async def test_a_server_with_another_schema_version_is_refused_and_left_as_it_is(redis: Redis) -> None:
    await redis.set(keys.SCHEMA, "0")
    with pytest.raises(SchemaMismatch, match=f"schema version 0, this release writes {keys.SCHEMA_VERSION}"):
        await check(redis)
    assert await redis.get(keys.SCHEMA) == b"0"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_evict_our_keys_is_refused_before_anything_is_written(
    redis: Redis, policy: str
) -> None:
    async with eviction(redis, policy):
        with pytest.raises(SchemaMismatch, match=f"maxmemory-policy {policy}.*CONFIG SET"):
            await check(redis)
    assert not await redis.exists(keys.SCHEMA)


async def test_a_managed_server_that_hides_its_configuration_is_accepted(redis: Redis, redis_url: str) -> None:
    await redis.acl_setuser(
        "tenant", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"], commands=["-config"]
    )
    there = urlsplit(redis_url)
    tenant = connect(f"redis://tenant:pw@{there.hostname}:{there.port}{there.path}")
    try:
        await check(tenant)
    finally:
        await tenant.aclose()
        await redis.acl_deluser("tenant")
    assert await redis.get(keys.SCHEMA) == keys.SCHEMA_VERSION.encode()


async def test_commands_beyond_the_limit_of_connections_wait_instead_of_raising(redis: Redis, redis_url: str) -> None:
    narrow = connect(redis_url, max_connections=2)
    values = await asyncio.gather(*(narrow.incr("counted") for _ in range(100)))
    await narrow.aclose()
    assert sorted(values) == list(range(1, 101))


async def test_answers_are_bytes(redis: Redis) -> None:
    await redis.set("key", "value")
    assert await redis.get("key") == b"value"


async def test_a_cut_connection_is_made_again(redis: Redis, redis_url: str) -> None:
    await redis.set("key", "value")
    async with lossy_link(redis_url) as (link, url):
        distant = connect(url)
        await distant.ping()
        link.lose_next_answer()
        assert await distant.get("key") == b"value"
        await distant.aclose()
    assert link.lost == 1


async def test_a_server_that_answers_has_nothing_to_say_about_its_silence(redis: Redis) -> None:
    assert await why_silent(redis) == ""


async def test_a_server_that_is_gone_is_silent_for_a_reason(redis_url: str) -> None:
    async with lossy_link(redis_url) as (_, url):
        there = urlsplit(url)
    gone = Redis(host=there.hostname or "", port=there.port or 0, retry=Retry(NoBackoff(), 0))
    assert "Redis does not answer" in await why_silent(gone)
    await gone.aclose()


async def test_a_server_in_protected_mode_is_named_with_what_it_says() -> None:
    """As Redis answers whoever comes from another container while it has no password."""

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-DENIED Redis is running in protected mode because no password is set. Do this. Do that.\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(f"redis://127.0.0.1:{port}")
    with pytest.raises(StateError, match=r"refuses to answer: DENIED Redis is running in protected mode[^.]*;"):
        await check(client)
    await client.aclose()
    server.close()
    await server.wait_closed()
