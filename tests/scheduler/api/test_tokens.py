"""What the API lets each token do."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from scheduler.api.app import create_app
from scheduler.core.imports import Importable
from scheduler.core.tokens import Scope
from scheduler.service import Service
from scheduler.state.pools import PoolRecord
from scheduler.token_file import TokenFile
from tests.scheduler.api.bodies import make_run

OPEN = {"/healthz", "/readyz"}
"""What orchestrators ask without a token."""


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.ndjson")


@pytest.fixture
def keys(tokens: TokenFile) -> dict[Scope, str]:
    return {scope: tokens.create(scope, [scope]) for scope in Scope}


@pytest_asyncio.fixture
async def http(service: Service, tokens: TokenFile, keys: dict[Scope, str]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(service, tokens=tokens))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as client:
        yield client


def routes(service: Service) -> list[tuple[str, str]]:
    paths = create_app(service).openapi()["paths"]
    found = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert len(found) > 20
    return found


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_no_route_but_the_probes_answers_without_a_token(service: Service, http: httpx.AsyncClient) -> None:
    for method, path in routes(service):
        answer = await http.request(method, path.replace("{", "").replace("}", ""))
        assert (answer.status_code == 401) is (path not in OPEN), (method, path)
        if path not in OPEN:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json()["type"] == "urn:pilotcommit:Unauthorised"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/pools", Scope.SUBMIT),
        ("POST", "/v1/pools/p/preview", Scope.SUBMIT),
        ("POST", "/v1/pools/p/prompts", Scope.SUBMIT),
        ("POST", "/v1/runs", Scope.SUBMIT),
        ("POST", "/v1/runs/dry-run", Scope.SUBMIT),
        ("POST", "/v1/runs/r/pause", Scope.OPERATE),
        ("POST", "/v1/runs/r/resume", Scope.OPERATE),
        ("POST", "/v1/runs/r/budget", Scope.OPERATE),
        ("POST", "/v1/runs/r/cancel", Scope.OPERATE),
        ("POST", "/v1/runs/r/prompts/p/reinstate", Scope.OPERATE),
        ("POST", "/v1/runs/r/evaluations", Scope.OPERATE),
        ("POST", "/v1/servers", Scope.OPERATE),
        ("POST", "/v1/gateways", Scope.OPERATE),
        ("POST", "/v1/servers/s/drain", Scope.OPERATE),
        ("POST", "/v1/servers/s/resume", Scope.OPERATE),
        ("DELETE", "/v1/servers/s", Scope.OPERATE),
        ("GET", "/v1/runs/r/groups", Scope.LEARN),
        ("POST", "/v1/runs/r/learner", Scope.LEARN),
        ("POST", "/v1/runs/r/weights", Scope.LEARN),
        ("POST", "/v1/runs/r/applied", Scope.LEARN),
        ("POST", "/v1/runs/r/broadcaster", Scope.LEARN),
        ("POST", "/v1/runs/r/broadcasts", Scope.LEARN),
        ("POST", "/v1/runs/r/broadcasts/g", Scope.LEARN),
        ("POST", "/v1/runs/r/checkpointed", Scope.LEARN),
    ],
)
async def test_what_changes_something_needs_its_scope(
    http: httpx.AsyncClient, keys: dict[Scope, str], method: str, path: str, scope: Scope
) -> None:
    for held, key in keys.items():
        answer = await http.request(method, path, headers=with_key(key))
        assert (answer.status_code == 403) is (held is not scope)
        if held is not scope:
            assert f"needs the scope {scope}; the token '{held}' has {held}" in answer.json()["detail"]


async def test_every_route_that_changes_something_is_in_the_table_above(service: Service) -> None:
    table = next(mark for mark in test_what_changes_something_needs_its_scope.pytestmark)  # type: ignore[attr-defined]
    tested = {(method, path) for method, path, _ in table.args[1]}
    changing = {
        # Each parameter by its first letter.
        (method, re.sub(r"\{(\w)\w*\}", r"\1", path))
        for method, path in routes(service)
        if method != "GET"
    }
    assert changing <= tested


async def test_every_token_reads(http: httpx.AsyncClient, keys: dict[Scope, str]) -> None:
    for key in keys.values():
        for path in ("/v1/pools", "/v1/runs", "/v1/servers", "/metrics"):
            assert (await http.get(path, headers=with_key(key))).status_code == 200


async def test_a_token_that_is_unknown_or_revoked_is_refused_at_once(
    http: httpx.AsyncClient, tokens: TokenFile, keys: dict[Scope, str]
) -> None:
    assert (await http.get("/v1/runs", headers=with_key("guess"))).status_code == 401
    assert (await http.get("/v1/runs", headers={"Authorization": f"Basic {keys[Scope.READ]}"})).status_code == 401
    tokens.revoke(Scope.READ)
    answer = await http.get("/v1/runs", headers=with_key(keys[Scope.READ]))
    assert answer.status_code == 401
    assert "unknown or was revoked" in answer.json()["detail"]


@pytest.mark.parametrize(("modules", "status"), [((), 422), (("tests.scheduler.api",), 201)])
async def test_a_reward_is_imported_from_a_listed_module_only(
    service: Service, model_folder: Path, modules: tuple[str, ...], status: int
) -> None:
    transport = httpx.ASGITransport(create_app(service, importable=Importable(modules=modules)))
    reward = "python:tests.scheduler.api.sample_rewards:judge"
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        body = {"name": "p", "tokenizer": str(model_folder), "reward": reward}
        answer = await http.post("/v1/pools", json=body)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["field"] == "reward"


async def test_an_allocator_is_imported_from_a_listed_module_only(service: Service, sums: PoolRecord) -> None:
    transport = httpx.ASGITransport(create_app(service, importable=Importable(modules=("rules",))))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as http:
        answer = await http.post("/v1/runs", json=make_run(pool=sums.name, allocator="os:system"))
    assert (answer.status_code, answer.json()["field"]) == (422, "allocator")
    assert "os may not be imported here" in answer.json()["detail"]
