"""The fleet over HTTP."""

import httpx

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
