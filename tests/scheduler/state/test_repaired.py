import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from scheduler.state.connection import connect
from scheduler.state.repaired import repaired


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
def test_every_kind_of_connection_is_repaired(kind: type[Connection]) -> None:
    ours = repaired(kind)
    assert issubclass(ours, kind)
    assert ours is not kind


@given(st.lists(st.text() | st.binary() | st.integers() | st.floats(allow_nan=False), max_size=5))
def test_commands_are_packed_as_redis_py_packs_them(operands: list[str | bytes | int | float]) -> None:
    ours, theirs = repaired(Connection)(), Connection()
    command = ("CONFIG GET", *operands)
    assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))


async def test_a_cancellation_is_never_swallowed_whenever_it_arrives(redis_url: str, redis: Redis) -> None:
    client = connect(redis_url)
    await redis.set("key", "value")
    finished = 0

    async def read() -> object:
        return await client.get("key")

    for turns in range(60):
        task = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            finished += 1
        assert await read() == b"value", "an answer that nobody read was taken for the next one's"
    await client.aclose()
    assert finished < 60
