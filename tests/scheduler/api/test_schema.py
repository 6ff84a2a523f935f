"""Whatever the OpenAPI document allows, and much that it does not, is answered as it says and never with a 500."""

from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scheduler.api.app import create_app
from scheduler.service import Service
from scheduler.state.pools import PoolRecord
from tests.scheduler.api.bodies import make_run

NUM_REQUESTS = 150
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Operations = list[Operation]


@pytest.fixture
def operations(service: Service) -> Operations:
    """Every operation of the document but those that take NDJSON, which has generated tests of its own (test_prompts).

    And but adding servers, which goes and asks whatever address it is given, and the stream of events, which goes on.
    """
    document = create_app(service).openapi()
    found: Operations = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(result, Ok), result.err()
        found.append(result.ok())
    assert len(found) > 20
    left_out = {
        ("post", "/v1/pools/{pool}/prompts"),
        ("post", "/v1/pools/{pool}/preview"),
        ("post", "/v1/servers"),
        ("post", "/v1/gateways"),
        ("get", "/v1/events"),
    }
    return [operation for operation in found if (operation.method, operation.path) not in left_out]


@pytest_asyncio.fixture
async def at_hand(service: Service, http: httpx.AsyncClient, sums: PoolRecord) -> None:
    """A pool with a prompt and a run over it, so that some requests have something to find."""
    await http.post("/v1/pools/sums/prompts", content=b'{"id": "a", "text": "1+1=", "answer": "2"}\n')
    assert (await http.post("/v1/runs", json=make_run(pool="sums"))).status_code == 201


def _request(case: Case[Operation], http: httpx.AsyncClient) -> httpx.Request:
    """A generated case as httpx sends it; its path, headers and body are written by schemathesis."""
    sent = case.as_transport_kwargs(base_url="http://scheduler")
    content = msgspec.json.encode(sent["json"]) if "json" in sent else sent.get("data")
    return http.build_request(
        sent["method"], sent["url"], params=sent.get("params"), headers=dict(sent.get("headers") or {}), content=content
    )


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("at_hand")
@pytest.mark.parametrize("mode", GenerationMode)
@settings(
    max_examples=NUM_REQUESTS,
    phases=[Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
async def test_a_generated_request_is_answered_as_the_document_says(
    http: httpx.AsyncClient, operations: Operations, mode: GenerationMode, data: st.DataObject
) -> None:
    operation = data.draw(st.sampled_from(operations))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    response = await http.send(_request(case, http))
    case.validate_response(response, checks=CHECKS)
