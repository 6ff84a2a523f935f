"""Bodies that are too long to be read into memory."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from scheduler.api.app import create_app
from scheduler.api.body_limit import MAX_BODY_BYTES
from scheduler.service import Service
from scheduler.state.pools import PoolRecord
from tests.scheduler.served import served

LONG = b'{"name": "' + b"x" * MAX_BODY_BYTES + b'"}'


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end(service: Service, declared: bool) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for start in range(0, 10 * MAX_BODY_BYTES, 1 << 20):
            sent = start
            yield b" " * (1 << 20)

    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        content = LONG if declared else pieces()
        answer = await http.post("/v1/pools", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "longer than 8,388,608 bytes" in answer.json()["detail"]
    assert sent <= MAX_BODY_BYTES


async def test_an_upload_of_prompts_may_be_longer(service: Service, sums: PoolRecord) -> None:
    line = b'{"text": "1", "metadata": {"note": "%s"}}\n' % (b"x" * 500_000)

    async def lines() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // len(line) + 2):
            await asyncio.sleep(0)
            yield line

    async with served(service) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        answer = await http.post("/v1/pools/sums/prompts", content=lines())
    assert answer.status_code == 200, answer.text
