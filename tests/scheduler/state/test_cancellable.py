import asyncio

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from scheduler.state.cancellable import cancellable
from scheduler.state.connection import connect


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
def test_every_kind_of_connection_is_repaired(kind: type[Connection]) -> None:
    repaired = cancellable(kind)
    assert issubclass(repaired, kind)
    assert repaired is not kind


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
