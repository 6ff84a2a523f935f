"""The OpenAPI document is one that tools can read, and its examples are requests that the API takes."""

import re
from collections.abc import Iterator, Mapping
from typing import cast

import httpx
import msgspec
import pytest
import pytest_asyncio
from pydantic import BaseModel

from scheduler.api import learner_requests, pool_requests, run_requests, server_requests
from scheduler.api.problems import PROBLEM_JSON

Json = Mapping[str, object]
BODIES = (
    pool_requests.NewPool,
    run_requests.NewRun,
    run_requests.RaiseBudget,
    run_requests.NewEvaluation,
    server_requests.NewGateway,
    server_requests.NewServer,
    learner_requests.Attach,
    learner_requests.PublishWeights,
    learner_requests.Applied,
    learner_requests.Checkpointed,
    learner_requests.OfferBroadcast,
    learner_requests.AskOrder,
    learner_requests.AskRound,
)


@pytest_asyncio.fixture
async def document(http: httpx.AsyncClient) -> Json:
    return cast(Json, (await http.get("/openapi.json")).json())


def _under(value: object, *path: str) -> Mapping[str, Json]:
    for name in path:
        value = cast(Json, value)[name]
    return cast(Mapping[str, Json], value)


def _operations(document: Json) -> Iterator[Json]:
    for path, methods in _under(document, "paths").items():
        for method, operation in methods.items():
            yield {"name": f"{method} {path}", "path": path, **cast(Json, operation)}


def _schemas(value: object) -> Iterator[str]:
    """Names of the schemas that a part of the document refers to."""
    yield from re.findall(r"#/components/schemas/(\w+)", msgspec.json.encode(value).decode())


async def test_every_schema_that_is_referred_to_is_there(document: Json) -> None:
    assert set(_schemas(document)) <= _under(document, "components", "schemas").keys()


async def test_every_operation_has_an_id_of_its_own(document: Json) -> None:
    ids = [operation["operationId"] for operation in _operations(document)]
    assert len(set(ids)) == len(ids)


async def test_every_part_of_a_path_is_a_required_parameter(document: Json) -> None:
    for operation in _operations(document):
        given = cast(list[Mapping[str, object]], operation.get("parameters", []))
        in_path = {parameter["name"] for parameter in given if parameter["in"] == "path" and parameter["required"]}
        assert in_path == set(re.findall(r"{(\w+)}", str(operation["path"]))), operation["name"]


async def test_every_failure_is_described_as_a_problem_document(document: Json) -> None:
    for operation in _operations(document):
        failures = [answer for status, answer in _under(operation, "responses").items() if status[0] in "45"]
        for failure in failures:
            [media_type] = _under(failure, "content")
            assert media_type == PROBLEM_JSON, operation["name"]
            assert {"type", "title", "status", "detail", "field"} <= _under(
                failure, "content", PROBLEM_JSON, "schema", "properties"
            ).keys()


async def test_every_request_body_comes_with_an_example(document: Json) -> None:
    schemas = _under(document, "components", "schemas")
    for operation in _operations(document):
        if "requestBody" not in operation:
            continue
        for content in _under(operation, "requestBody", "content").values():
            examples = [schemas[name].get("examples") for name in _schemas(content)] or [content.get("example")]
            assert all(examples), operation["name"]


async def test_no_body_is_left_out_of_the_table(document: Json) -> None:
    asked = {name for operation in _operations(document) for name in _schemas(operation.get("requestBody", {}))}
    assert asked == {model.__name__ for model in BODIES}


@pytest.mark.parametrize("model", BODIES)
def test_an_example_is_a_request_that_the_api_takes(model: type[BaseModel]) -> None:
    for example in model.model_json_schema()["examples"]:
        parsed = model.model_validate(example)
        # A run has checks across its fields as well.
        if isinstance(parsed, run_requests.NewRun):
            assert parsed.config().pool == example["pool"]


def _example(document: Json, path: str) -> str:
    content = _under(document, "paths", path, "post", "requestBody", "content")
    return str(content["application/x-ndjson"]["example"])


@pytest.mark.usefixtures("sums")
async def test_the_example_of_an_upload_can_be_uploaded(document: Json, http: httpx.AsyncClient) -> None:
    example = _example(document, "/v1/pools/{pool}/prompts")
    answer = await http.post("/v1/pools/sums/prompts", content=example)
    assert answer.json() == {"added": example.count("\n"), "unchanged": 0, "refused": []}


@pytest.mark.usefixtures("sums")
async def test_the_example_of_a_preview_can_be_previewed(document: Json, http: httpx.AsyncClient) -> None:
    example = _example(document, "/v1/pools/{pool}/preview")
    answer = (await http.post("/v1/pools/sums/preview", content=example)).json()
    assert (len(answer["prompts"]), answer["refused"]) == (example.count("\n"), [])
