"""The fleet over HTTP."""

from pathlib import Path

import httpx

from inference.fake import FakeConfig, FakeServer, create_fake
from scheduler.service import Service
from tests.inference.gateway_process import gateway
from tests.scheduler.api.bodies import add_pool, make_run, upload
from tests.scheduler.served import listening

URL = "http://127.0.0.1:1"


async def test_a_server_is_added_drained_resumed_and_removed(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/servers", json={"url": URL})
    assert answer.status_code == 201
    added = answer.json()
    [listed] = (await http.get("/v1/servers")).json()["servers"]
    assert listed == added
    path = f"/v1/servers/{added['server_id']}"
    assert (await http.post(f"{path}/drain")).json()["standing"] == "drained"
    assert (await http.post(f"{path}/drain")).status_code == 200, "what is so already may be ordered again"
    assert (await http.post(f"{path}/resume")).json()["standing"] == "serving"
    gone = await http.delete(path, params={"now": "true"})
    assert (gone.status_code, gone.json()["standing"]) == (202, "leaving")


async def test_what_cannot_be_is_a_problem_with_its_field(http: httpx.AsyncClient) -> None:
    for body, status in (({"url": "node:30000"}, 422), ({"url": URL, "name": "x"}, 422), ({}, 422)):
        answer = await http.post("/v1/servers", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), body
    assert (await http.post("/v1/servers", json={"url": "ftp://x"})).json()["field"] == "url"
    await http.post("/v1/servers", json={"url": URL})
    assert (await http.post("/v1/servers", json={"url": f"{URL}/"})).status_code == 409
    assert (await http.post("/v1/servers/s-none/drain")).status_code == 404
    assert (await http.delete("/v1/servers/s-none")).status_code == 404


async def test_labels_are_given_with_a_server_and_shown(http: httpx.AsyncClient) -> None:
    added = (await http.post("/v1/servers", json={"url": URL, "labels": {"gpu": "h100"}})).json()
    assert (added["labels"], added["run"], added["warnings"]) == ({"gpu": "h100"}, "", [])
    refused = await http.post("/v1/servers", json={"url": "http://127.0.0.1:2", "labels": {"gpu": "h 100"}})
    assert (refused.status_code, refused.json()["field"]) == (422, "labels")


async def test_the_servers_behind_a_gateway_are_added_at_once(http: httpx.AsyncClient) -> None:
    one, two = FakeServer(FakeConfig()), FakeServer(FakeConfig(random_seed=2))
    async with listening(create_fake(one)) as first, listening(create_fake(two)) as second:
        async with gateway(first, second) as url:
            answer = await http.post("/v1/gateways", json={"url": url, "labels": {"rack": "7"}})
            assert answer.status_code == 201
            joined = answer.json()
            assert sorted(server["url"] for server in joined["added"]) == sorted([first, second])
            assert joined["refused"] == joined["present"] == []
        nothing = await http.post("/v1/gateways", json={"url": first})
    assert (nothing.status_code, nothing.json()["field"]) == (422, "url")


async def test_a_queued_run_has_its_place_and_the_reason(
    http: httpx.AsyncClient, service: Service, model_folder: Path
) -> None:
    await add_pool(service.pools, model_folder)
    await upload(http, {"id": "p0", "text": "1 + 2 =", "answer": "3"})
    run = make_run(run_id="lost", servers={"gpu": "h100"})
    assert (await http.post("/v1/runs", json=run)).status_code == 201
    shown = (await http.get("/v1/runs/lost")).json()
    assert shown["queue"] == {"position": 1, "behind": []}
    assert shown["waiting_for"].startswith("a server with gpu=h100: the fleet has no servers; add one with")
    assert shown["config"]["servers"] == {"gpu": "h100"}
    wrong = await http.post("/v1/runs", json=make_run(run_id="wrong", servers={"gpu": ""}))
    assert (wrong.status_code, wrong.json()["field"]) == (422, "servers")
