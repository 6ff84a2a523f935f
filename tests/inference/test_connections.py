import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from inference.connections import Connections

_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Loopback:
    """A server that answers each request once it may, and counts the connections made to it."""

    port: int = 0
    opened: int = 0
    closed: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    hung_up: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked.release()
                await self.may_answer.wait()
                writer.write(_REPLY)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed += 1
            self.hung_up.release()
        finally:
            writer.close()


@asynccontextmanager
async def loopback(
    *, max_connections: int = 64, keepalive_s: float = 60.0
) -> AsyncIterator[tuple[Loopback, httpx.AsyncClient]]:
    served = Loopback()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{served.port}",
        transport=Connections(max_connections=max_connections, keepalive_s=keepalive_s),
    )
    async with server, client:
        try:
            yield served, client
        finally:
            served.may_answer.set()


async def test_calls_one_after_another_share_a_connection() -> None:
    async with loopback() as (served, client):
        served.may_answer.set()
        answers = [await client.get("/") for _ in range(5)]
    assert [answer.text for answer in answers] == ["ok"] * 5
    assert served.opened == 1


async def test_calls_at_once_have_one_each_and_leave_them_to_the_next() -> None:
    async with loopback() as (served, client):
        for _ in range(2):
            served.may_answer.clear()
            calls = [asyncio.create_task(client.get("/")) for _ in range(20)]
            for _ in calls:
                await served.asked.acquire()
            served.may_answer.set()
            assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    assert served.opened == 20


async def test_a_call_for_which_no_connection_is_free_says_so() -> None:
    async with loopback(max_connections=1) as (served, client):
        first = asyncio.create_task(client.get("/"))
        await served.asked.acquire()
        with pytest.raises(httpx.ConnectTimeout, match="all are in use"):
            await client.get("/", timeout=httpx.Timeout(5.0, pool=0.01))
        served.may_answer.set()
        assert (await first).text == "ok"


async def test_a_cancelled_call_gives_its_place_back_and_never_its_connection() -> None:
    async with loopback(max_connections=1) as (served, client):
        call = asyncio.create_task(client.get("/"))
        await served.asked.acquire()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        served.may_answer.set()
        assert (await client.get("/", timeout=5.0)).text == "ok"
    assert served.opened == 2


async def test_a_call_that_cannot_connect_gives_its_place_back() -> None:
    async with loopback(max_connections=1) as (served, client):
        served.may_answer.set()
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:1/", timeout=5.0)
        assert (await client.get("/")).text == "ok"


async def test_connections_that_were_idle_too_long_are_closed() -> None:
    async with loopback(keepalive_s=0.0) as (served, client):
        served.may_answer.set()
        await client.get("/")
        await client.get("/")
        await served.hung_up.acquire()
        assert (served.opened, served.closed) == (2, 1)
