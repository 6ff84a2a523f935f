"""The OpenAPI document says of every route what it is for, what it takes and how it fails."""

from collections.abc import Iterator, Mapping
from typing import cast

import httpx
import pytest_asyncio

Json = Mapping[str, object]


@pytest_asyncio.fixture
async def document(http: httpx.AsyncClient) -> Json:
    return cast(Json, (await http.get("/openapi.json")).json())


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in cast(Mapping[str, Mapping[str, Json]], document["paths"]).items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


async def test_every_route_has_a_summary_a_description_and_one_tag(document: Json) -> None:
    tags = {tag["name"] for tag in cast(list[dict[str, str]], document["tags"])}
    for name, operation in _operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(cast(list[str], operation["tags"])) <= tags, name


async def test_every_route_says_that_it_fails_with_a_problem_document(document: Json) -> None:
    for name, operation in _operations(document):
        responses = cast(Mapping[str, object], operation["responses"])
        assert {"4XX", "5XX"} <= set(responses), name
        assert "HTTPValidationError" not in str(responses), name


async def test_these_routes_and_no_others_are_there(document: Json) -> None:
    assert {name for name, _ in _operations(document)} == {
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/isolation",
        "GET /v1/events",
        "GET /v1/servers",
        "POST /v1/servers",
        "POST /v1/gateways",
        "POST /v1/servers/{server}/drain",
        "POST /v1/servers/{server}/resume",
        "DELETE /v1/servers/{server}",
        "POST /v1/pools",
        "GET /v1/pools",
        "GET /v1/pools/{pool}",
        "GET /v1/pools/{pool}/prompts/{prompt}",
        "POST /v1/pools/{pool}/prompts",
        "POST /v1/pools/{pool}/preview",
        "POST /v1/runs",
        "POST /v1/runs/dry-run",
        "GET /v1/runs",
        "GET /v1/runs/{run}",
        "POST /v1/runs/{run}/pause",
        "POST /v1/runs/{run}/resume",
        "POST /v1/runs/{run}/budget",
        "POST /v1/runs/{run}/cancel",
        "GET /v1/runs/{run}/ledger",
        "GET /v1/runs/{run}/profile",
        "GET /v1/runs/{run}/prompts",
        "GET /v1/runs/{run}/informativeness",
        "GET /v1/runs/{run}/prompts/{prompt}",
        "POST /v1/runs/{run}/prompts/{prompt}/reinstate",
        "GET /v1/runs/{run}/explain",
        "GET /v1/runs/{run}/prompts/{prompt}/completions",
        "GET /v1/runs/{run}/prompts/{prompt}/explain",
        "GET /v1/runs/{run}/export/{table}",
        "GET /v1/runs/{run}/groups/{group}/explain",
        "GET /v1/runs/{run}/rollouts/{rollout}/explain",
        "GET /v1/runs/{run}/unsolved",
        "POST /v1/runs/{run}/evaluations",
        "GET /v1/runs/{run}/evaluations",
        "GET /v1/runs/{run}/evaluations/{evaluation}",
        "GET /v1/runs/{run}/groups",
        "POST /v1/runs/{run}/learner",
        "POST /v1/runs/{run}/weights",
        "GET /v1/runs/{run}/weights",
        "POST /v1/runs/{run}/applied",
        "POST /v1/runs/{run}/broadcaster",
        "POST /v1/runs/{run}/broadcasts",
        "POST /v1/runs/{run}/broadcasts/{group}",
        "POST /v1/runs/{run}/checkpointed",
    }


async def test_every_field_of_a_run_is_described(document: Json) -> None:
    components = cast(Mapping[str, Mapping[str, Mapping[str, Mapping[str, Json]]]], document["components"])
    run = components["schemas"]["NewRun"]["properties"]
    assert {name for name, field in run.items() if "description" not in field and "$ref" not in field} == set()
    assert run["allocator"]["examples"] == ["adaptive"]
