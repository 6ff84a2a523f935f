"""Every answer that is not a success is a problem document, foreseen or not."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from scheduler.api import problems
from scheduler.core import errors
from scheduler.core.errors import PilotCommitError


@pytest_asyncio.fixture
async def raising() -> AsyncIterator[httpx.AsyncClient]:
    """An application whose one route raises the error it is asked for: one of ours, or a bug."""
    app = FastAPI()
    problems.install(app)

    @app.get("/{name}")
    async def fail(name: str) -> None:
        kind = getattr(errors, name, None)
        raise kind("the message") if kind else ZeroDivisionError("a secret")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as client:
        yield client


def _all_below(kind: type[PilotCommitError]) -> list[type[PilotCommitError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _all_below(child))]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("InvalidInput", 422),
        ("NotFound", 404),
        ("Conflict", 409),
        ("NotAtWork", 409),
        ("StaleIncarnation", 409),
        ("BudgetExhausted", 409),
        ("FenceLost", 503),
        ("IllegalMove", 500),
    ],
)
async def test_an_error_of_ours_has_its_status(raising: httpx.AsyncClient, name: str, status: int) -> None:
    answer = await raising.get(f"/{name}")
    assert (answer.status_code, answer.json()["status"]) == (status, status)


@pytest.mark.parametrize(
    "name", [kind.__name__ for kind in _all_below(PilotCommitError) if kind.__module__ == errors.__name__]
)
async def test_no_error_of_ours_is_answered_without_a_document(raising: httpx.AsyncClient, name: str) -> None:
    answer = await raising.get(f"/{name}")
    assert answer.status_code >= 400
    assert answer.headers["content-type"] == problems.PROBLEM_JSON
    if answer.status_code < 500:
        assert (answer.json()["type"], answer.json()["detail"]) == (f"urn:pilotcommit:{name}", "the message")


@pytest.mark.parametrize(("name", "connection"), [("NotAtWork", "close"), ("Conflict", None), ("NotFound", None)])
async def test_whoever_asked_a_scheduler_that_is_not_at_work_asks_again_over_another_connection(
    raising: httpx.AsyncClient, name: str, connection: str | None
) -> None:
    answer = await raising.get(f"/{name}")
    assert answer.headers.get("connection") == connection


async def test_a_bug_is_answered_with_a_reference_and_without_its_message(raising: httpx.AsyncClient) -> None:
    answer = await raising.get("/bug")
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (500, "urn:pilotcommit:Internal")
    assert problem["reference"] in problem["detail"]
    assert "secret" not in answer.text


async def test_a_method_that_a_path_does_not_have_is_a_problem_too(raising: httpx.AsyncClient) -> None:
    answer = await raising.post("/bug")
    assert (answer.status_code, answer.headers["content-type"]) == (405, problems.PROBLEM_JSON)


async def test_a_body_that_was_not_sent_as_json_is_told_which_header_it_lacks(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/runs", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]
