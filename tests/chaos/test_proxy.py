"""The link that can be made to fail, in front of a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from tests.chaos.proxy import Link
from tests.scheduler.served import listening


@pytest.fixture
async def upstream() -> AsyncIterator[int]:
    """A server that says what it was told."""
    app = FastAPI()

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    app.add_route("/echo", echo, methods=["POST"])
    async with listening(app) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture
async def link(upstream: int) -> AsyncIterator[Link]:
    """A link to it."""
    link = Link(lambda: ("127.0.0.1", upstream))
    async with link.listening():
        yield link


@pytest.fixture
async def http(link: Link) -> AsyncIterator[httpx.AsyncClient]:
    """A client at the other end."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{link.port}", trust_env=False) as client:
        yield client


async def said(http: httpx.AsyncClient, content: bytes = b"hello") -> httpx.Response:
    return await http.post("/echo", content=content)


async def test_what_is_said_arrives_and_comes_back(http: httpx.AsyncClient, link: Link) -> None:
    content = b"x" * 3_000_000
    assert (await said(http, content)).content == content
    assert link.hits == 0


@pytest.mark.parametrize("status", [500, 429])
async def test_so_many_requests_as_ordered_are_refused_and_never_arrive(
    http: httpx.AsyncClient, link: Link, status: int
) -> None:
    await said(http)
    link.refuse_next(status, 2)
    answers = [(await said(http, b"y" * 200_000)).status_code for _ in range(3)]
    assert answers == [status, status, 200]
    assert link.hits == 2


async def test_an_answer_that_is_cut_breaks_the_call(http: httpx.AsyncClient, link: Link) -> None:
    link.cut_next()
    with pytest.raises(httpx.RemoteProtocolError):
        await said(http)
    assert (await said(http)).content == b"hello"
    assert link.hits == 1


async def test_a_reset_ends_what_is_under_way(http: httpx.AsyncClient, link: Link) -> None:
    link.slow_down(by_s=30.0, for_s=30.0)
    call = asyncio.create_task(said(http))
    while not link.hits:  # noqa: ASYNC110 the link has no event for it
        await asyncio.sleep(0)
    link.reset_all()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await call
    link.heal()
    assert (await said(http)).content == b"hello"


async def test_nobody_upstream_ends_the_connection(http: httpx.AsyncClient, link: Link, unused_tcp_port: int) -> None:
    link.upstream = lambda: ("127.0.0.1", unused_tcp_port)
    with pytest.raises(httpx.TransportError):
        await said(http)
