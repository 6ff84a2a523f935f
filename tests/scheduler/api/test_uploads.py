"""A large upload streams through: it is stored as it comes, and never held as a whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import httpx
import msgspec
import pytest
import structlog

from scheduler.service import Service
from scheduler.state.pools import PoolRecord
from tests.scheduler.served import served

NUM_PROMPTS = 100_000
LINES_A_PIECE = 500
MOST_UNDER_WAY = 1000
"""Lines sent and not stored yet: a piece, and the chunk that is read."""


def _piece(start: int) -> bytes:
    lines = (
        {"id": f"p{number}", "text": f"{number} +", "answer": "7"} for number in range(start, start + LINES_A_PIECE)
    )
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


async def _until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(30.0):
        # The server has no event for it.
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _has_hung_up(logged: Sequence[Mapping[str, object]]) -> bool:
    return "client_hung_up" in [line["event"] for line in logged]


async def test_a_hundred_thousand_prompts_are_stored_while_they_come(
    service: Service, http: httpx.AsyncClient, sums: PoolRecord
) -> None:
    under_way: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, NUM_PROMPTS, LINES_A_PIECE):
            under_way.append(start - await service.pools.size(sums.name))
            yield _piece(start)

    answer = await http.post(f"/v1/pools/{sums.name}/prompts", content=body())
    assert answer.json() == {"added": NUM_PROMPTS, "unchanged": 0, "refused": []}
    assert max(under_way) <= MOST_UNDER_WAY
    assert await service.pools.size(sums.name) == NUM_PROMPTS


async def test_an_upload_that_breaks_off_keeps_what_was_stored_and_can_be_repeated(
    service: Service, sums: PoolRecord
) -> None:
    stored = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield _piece(0)
        await stored.wait()
        raise ConnectionResetError("the network is gone")

    path = f"/v1/pools/{sums.name}/prompts"
    async with served(service) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        with structlog.testing.capture_logs() as logged:
            upload = asyncio.create_task(http.post(path, content=broken()))
            await _until(lambda: service.pools.size(sums.name))
            stored.set()
            with pytest.raises(ConnectionResetError):
                await upload
            await _until(lambda: _has_hung_up(logged))
        assert "unexpected" not in [line["event"] for line in logged]
        kept = await service.pools.size(sums.name)
        again = await http.post(path, content=_piece(0))
    assert again.json() == {"added": LINES_A_PIECE - kept, "unchanged": kept, "refused": []}


async def test_a_file_of_the_wrong_kind_is_refused_line_by_line_with_a_bounded_report(
    service: Service, http: httpx.AsyncClient, sums: PoolRecord
) -> None:
    prompt = msgspec.json.encode({"text": "1 +"})
    answer = await http.post(f"/v1/pools/{sums.name}/prompts", content=b"x\n" * 12_000 + prompt)
    problem = answer.json()
    assert (answer.status_code, problem["added"], await service.pools.size(sums.name)) == (422, 1, 1)
    assert [refused["line"] for refused in problem["refused"]] == list(range(1, 10_001))
    assert (problem["more_refused"], problem["detail"].split()[0]) == (2000, "12000")


async def test_a_reason_does_not_repeat_a_line_of_a_megabyte(http: httpx.AsyncClient, sums: PoolRecord) -> None:
    line = {"id": "x" * 400_000, "text": "1 +", "answer": "y" * 400_000}
    answer = await http.post(f"/v1/pools/{sums.name}/prompts", content=msgspec.json.encode(line))
    assert answer.status_code == 422
    assert len(answer.content) < 4000
