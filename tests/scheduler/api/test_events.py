"""Live updates: what has changed, to however many who listen, at the cost of one."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping

import httpx
import msgspec
import pytest_asyncio

from scheduler.api.pulse import EVENT_STREAM, Pulse
from scheduler.service import Service
from scheduler.state.connection import connect
from tests.scheduler.api.bodies import make_run, upload
from tests.scheduler.served import served

QUICK_S = 0.01
NOWHERE = "redis://127.0.0.1:1/0"
"""Nothing listens there."""
Told = tuple[str, Mapping[str, object]]


@pytest_asyncio.fixture
async def run(http: httpx.AsyncClient, sums: object) -> str:
    """A queued run."""
    await upload(http, {"id": "first", "text": "1"})
    await http.post("/v1/runs", json=make_run(run_id="run"))
    return "run"


def _read(piece: bytes) -> list[Told]:
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", piece.decode())
    return [(name, msgspec.json.decode(data)) for name, data in found]


async def _next(events: AsyncIterator[bytes]) -> list[Told]:
    """The next piece that says something."""
    async for piece in events:
        if told := _read(piece):
            return told
    raise AssertionError("the stream has ended")


async def test_whoever_begins_to_listen_hears_everything_and_then_only_what_changes(
    service: Service, http: httpx.AsyncClient, run: str
) -> None:
    events = Pulse(service, every_s=QUICK_S).events()
    assert [name for name, _ in await _next(events)] == ["servers", "run"]
    assert (await anext(events)).startswith(b":")
    await http.post("/v1/runs/run/pause")
    [(name, told)] = await _next(events)
    assert (name, told["run_id"], told["state"]) == ("run", "run", "paused")


async def test_what_is_told_of_a_run_is_what_its_own_call_answers(
    service: Service, http: httpx.AsyncClient, run: str
) -> None:
    told = dict(await _next(Pulse(service, every_s=QUICK_S).events()))
    assert told["run"] == (await http.get("/v1/runs/run")).json()
    assert told["servers"] == (await http.get("/v1/servers")).json()


async def test_many_listeners_cost_one_look(service: Service, run: str) -> None:
    pulse = Pulse(service, every_s=60.0)
    await _next(pulse.events())
    before = (await service.redis.info("stats"))["total_commands_processed"]
    heard = await asyncio.gather(*(_next(pulse.events()) for _ in range(20)))
    after = (await service.redis.info("stats"))["total_commands_processed"]
    assert all(len(told) == 2 for told in heard)
    assert after - before < 5


async def test_a_run_that_has_ended_is_looked_at_once(service: Service, http: httpx.AsyncClient, run: str) -> None:
    await http.post("/v1/runs/run/cancel")
    pulse = Pulse(service, every_s=0.0)
    events = pulse.events()
    assert dict(await _next(events))["run"]["state"] == "cancelled"
    before = (await service.redis.info("commandstats")).get("cmdstat_hgetall", {}).get("calls", 0)
    for _ in range(10):
        await anext(events)
    after = (await service.redis.info("commandstats")).get("cmdstat_hgetall", {}).get("calls", 0)
    assert after == before


async def test_a_stream_ends_after_a_while_so_that_its_token_is_asked_for_again(service: Service, run: str) -> None:
    moments = iter((0.0, 1.0, 1.0, 1.0, 301.0))
    pulse = Pulse(service, every_s=0.0, clock=lambda: next(moments, 301.0))
    assert len([piece async for piece in pulse.events()]) < 5


async def test_a_redis_that_is_away_is_told_and_so_is_its_return(service: Service, run: str) -> None:
    events = Pulse(service, every_s=0.0).events()
    await _next(events)
    pool, service.redis.connection_pool = service.redis.connection_pool, connect(NOWHERE).connection_pool
    [(name, told)] = await _next(events)
    assert (name, "Redis does not answer" in str(told["detail"])) == ("trouble", True)
    service.redis.connection_pool = pool
    assert (await anext(events)).startswith(b":"), "nothing has changed meanwhile, and that is said"


async def test_the_stream_is_served_as_events_that_no_proxy_keeps(service: Service, run: str) -> None:
    async with (
        served(service) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
        http.stream("GET", "/v1/events") as response,
    ):
        assert response.headers["content-type"].split(";")[0] == EVENT_STREAM
        assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-store", "no")
        first = await anext(response.aiter_bytes())
        assert _read(first)[0][0] == "servers"
