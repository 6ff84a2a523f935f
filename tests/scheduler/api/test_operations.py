"""Liveness never depends on anything else, readiness says what is missing."""

import time
from importlib.metadata import version

import httpx
import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler.api.app import create_app
from scheduler.engine.assembly import EngineSettings
from scheduler.fleet import Fleet
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import parse_spec
from scheduler.service import Service
from scheduler.state.connection import connect
from tests.scheduler.conftest import unreachable

LIMITS = ModelLimits(vocab_size=128, context_length=2048)


def _application(redis_url: str, fleet: Fleet) -> httpx.AsyncClient:
    redis = connect(redis_url)
    redis.set_retry(Retry(NoBackoff(), retries=0))
    service = Service(redis, fleet, RewardPool(1), EngineSettings(), connect=unreachable)
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(service)), base_url="http://scheduler")


async def test_a_scheduler_with_its_redis_is_alive_and_ready(http: httpx.AsyncClient) -> None:
    before = time.time()
    health = (await http.get("/healthz")).json()
    assert (health["status"], health["version"]) == ("alive", version("pilotcommit"))
    assert before <= health["now"] <= time.time()
    assert (await http.get("/readyz")).json() == {"status": "ready"}


async def test_a_scheduler_without_its_redis_is_alive_and_not_ready(unused_tcp_port: int) -> None:
    async with _application(f"redis://127.0.0.1:{unused_tcp_port}/0", Fleet(())) as http:
        assert (await http.get("/healthz")).status_code == 200
        answers = [await http.get(path) for path in ("/readyz", "/v1/pools", "/metrics")]
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all("Redis does not answer" in answer.json()["detail"] for answer in answers)


async def test_servers_are_shown_with_why_they_get_nothing(redis_url: str) -> None:
    client = ServerClient("http://server:30000", LIMITS)
    async with _application(redis_url, Fleet([client], capacity_per_server=4)) as http:
        [server] = (await http.get("/v1/servers")).json()["servers"]
    assert (server["url"], server["state"], server["capacity"]) == ("http://server:30000", "starting", 4)
    assert server["reason"]
    await client.aclose()


async def test_how_rewards_are_shut_in_is_shown(service: Service, http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/isolation")).json() == {"started": False, "in_force": [], "missing": {}}
    await service.rewards.check(parse_spec("exact"))
    shown = (await http.get("/v1/isolation")).json()
    assert shown["started"]
    assert set(shown["in_force"]) | shown["missing"].keys() == {"limits", "system_calls", "namespaces"}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_api_documents_itself(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 200


async def test_the_metrics_page_is_prometheus_text(http: httpx.AsyncClient) -> None:
    page = await http.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE pilotcommit_attempts_total counter" in page.text
