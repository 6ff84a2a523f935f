"""Whoever asks too often is told so, and when to ask again."""

from pathlib import Path

import httpx
import pytest

from scheduler.api.app import create_app
from scheduler.client import error_of
from scheduler.core.errors import TooManyRequests
from scheduler.core.rate import Rate
from scheduler.core.tokens import Scope
from scheduler.service import Service
from scheduler.token_file import TokenFile

SLOW = Rate(per_s=0.001, burst=2.0)


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.ndjson")


def _http(service: Service, tokens: TokenFile | None = None, rate: Rate | None = SLOW) -> httpx.AsyncClient:
    application = create_app(service, tokens=tokens, rate=rate)
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://scheduler")


async def test_the_answer_is_a_problem_document_that_says_when_to_ask_again(service: Service) -> None:
    async with _http(service) as http:
        answers = [await http.get("/v1/runs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    problem = answers[2].json()
    assert answers[2].headers["content-type"] == "application/problem+json"
    assert (problem["title"], problem["status"]) == ("Too many requests", 429)
    assert "PILOTCOMMIT_RATE_PER_S" in problem["detail"]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 1000
    assert isinstance(error_of(answers[2]), TooManyRequests)


async def test_files_of_the_console_are_not_counted(service: Service) -> None:
    async with _http(service) as http:
        answers = [await http.get("/console/app.js") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}


async def test_each_token_has_its_own_rate(service: Service, tokens: TokenFile) -> None:
    keys = [tokens.create(name, [Scope.READ]) for name in ("one", "two")]
    async with _http(service, tokens) as http:
        for key in keys:
            headers = {"Authorization": f"Bearer {key}"}
            assert [(await http.get("/v1/runs", headers=headers)).status_code for _ in range(3)] == [200, 200, 429]


async def test_guessing_tokens_is_asking_from_one_address(service: Service, tokens: TokenFile) -> None:
    tokens.create("one", [])
    async with _http(service, tokens) as http:
        statuses = [
            (await http.get("/v1/runs", headers={"Authorization": f"Bearer guess{number}"})).status_code
            for number in range(4)
        ]
    assert statuses == [401, 401, 429, 429]


async def test_orchestrators_may_always_ask(service: Service) -> None:
    async with _http(service) as http:
        for _ in range(9):
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200


async def test_without_a_rate_everybody_may_always_ask(service: Service) -> None:
    async with _http(service, rate=None) as http:
        assert {(await http.get("/v1/servers")).status_code for _ in range(50)} == {200}
