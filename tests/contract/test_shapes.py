"""Statuses and shapes: both servers answer what the recordings show."""

import re
from pathlib import Path

import pytest

from inference.control import BROADCAST_ROUTES, WEIGHT_ROUTES
from tests.contract.recorded import Recorded, missing, recorded
from tests.contract.subject import ADMIN_KEY, API_KEY, SHORT, Subject

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATELESS = [
    "11_err_neither",
    "12_err_unknown_sampling_field",
    "16_err_badjson",
    "17_err_temp",
    "18_max_over_ctx",
    "20_err_empty_ids",
    "23_max_new_tokens_0",
    "410_gen_before",
    "416_update_bad_path",
    "418_update_missing_field",
    "430_flush_cache_post",
    "442_abort_unknown",
    "443_abort_empty",
    "480_pause_bad_mode",
    "481_pause_nobody",
    "482_continue_nobody",
    "483_continue",
]
PARTLY_FAKED = ["303_model_info", "307_v1_loads"]
CHECKSUM = "404_weights_checker_checksum"
NORMAL_PATHS = ("/generate", "/model_info", "/v1/loads")


async def replayed(server: Subject, call: Recorded) -> tuple[int, object]:
    key = API_KEY if call.path in NORMAL_PATHS else ADMIN_KEY
    headers = {"Authorization": f"Bearer {key}"}
    if isinstance(call.request, str):
        answer = await server.http.request(call.method, call.path, content=call.request, headers=headers)
    elif call.request is None:
        answer = await server.http.request(call.method, call.path, headers=headers)
    else:
        answer = await server.http.request(call.method, call.path, json=call.request, headers=headers)
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return answer.status_code, answer.json() if is_json else answer.text


@pytest.mark.parametrize("name", STATELESS)
async def test_a_call_is_answered_with_the_recorded_status_and_shape(server: Subject, name: str) -> None:
    call = recorded(name)
    status, body = await replayed(server, call)
    assert status == call.status
    assert missing(call.response, body) == []
    assert missing(body, call.response) == []


@pytest.mark.parametrize("name", [*PARTLY_FAKED, CHECKSUM])
async def test_a_report_has_the_recorded_fields_and_the_fake_invents_none(server: Subject, name: str) -> None:
    if name == CHECKSUM:
        await server.checksum()
    call = recorded(name)
    status, body = await replayed(server, call)
    assert status == call.status
    assert missing(body, call.response) == [] if server.is_fake else missing(call.response, body) == []


@pytest.mark.parametrize("name", ["20_err_empty_ids", "443_abort_empty"])
async def test_a_fixed_message_is_the_recorded_one_word_for_word(server: Subject, name: str) -> None:
    call = recorded(name)
    assert (await replayed(server, call))[1] == call.response


async def test_an_unknown_sampling_field_is_named(server: Subject) -> None:
    """The fields that it then names as known differ from one SGLang to the next."""
    call = recorded("12_err_unknown_sampling_field")
    _, body = await replayed(server, call)
    assert isinstance(body, dict)
    assert isinstance(call.response, dict)
    told, expected = (str(text).partition(", expected one of")[0] for text in (body["error"], call.response["error"]))
    assert told == expected


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [
        ("900_none_generate", "/generate", None),
        ("900_none_generate", "/generate", ADMIN_KEY),
        ("905_user_update", "/update_weights_from_disk", API_KEY),
        ("905_user_update", "/update_weights_from_disk", None),
        ("905_user_update", "/abort_request", API_KEY),
    ],
)
async def test_each_plane_takes_its_own_key_only(server: Subject, name: str, path: str, key: str | None) -> None:
    call = recorded(name)
    answer = await server.post(path, {"model_path": str(Path("nowhere")), "input_ids": [5]}, key=key)
    assert (answer.status_code, answer.json()) == (call.status, call.response)


async def test_readiness_is_open_to_everybody(server: Subject) -> None:
    assert (await server.get("/ready", key=None)).status_code == 200


async def test_an_unknown_route_is_a_404(server: Subject) -> None:
    answer = await server.get("/no_such_route")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    "accept",
    ["*/*", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"],
    ids=["anything", "text", "as Prometheus 2"],
)
async def test_what_dashboards_ask_for_is_on_the_metrics_page_that_asks_for_no_key(
    server: Subject, accept: str
) -> None:
    """By either of two names, of which prometheus.yml makes one."""
    await server.client.generate(server.request("scraped"))
    answer = await server.http.get("/metrics", headers={"Accept": accept}, follow_redirects=True)
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    samples = {re.sub("^sglang:", "sglang_", name.partition("{")[0]): float(value) for name, _, value in lines}
    wanted = {f"sglang_{name}" for name in ("num_running_reqs", "num_queue_reqs", "token_usage")}
    assert wanted <= samples.keys()
    assert samples["sglang_generation_tokens_total"] >= SHORT.max_new_tokens


async def test_a_server_says_which_calls_it_answers_and_has_those_that_give_it_weights(server: Subject) -> None:
    assert await server.client.routes() >= WEIGHT_ROUTES | BROADCAST_ROUTES


async def test_whether_the_control_plane_takes_a_key_is_found_out_by_reading(server: Subject) -> None:
    assert await server.client.takes_admin_key() is True
    assert (await server.get("/hicache/storage-backend", key=API_KEY)).status_code == 401


async def test_asked_in_openmetrics_as_prometheus_asks_the_colon_of_every_sample_is_an_underscore(
    server: Subject,
) -> None:
    """As deploy/prometheus/prometheus.yml has it everywhere."""
    await server.client.generate(server.request("scraped"))
    asked = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    answer = await server.http.get("/metrics", headers=asked, follow_redirects=True)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    samples = {re.split(r"[{ ]", line)[0] for line in answer.text.splitlines() if not line.startswith("#")}
    wanted = {f"sglang_{name}" for name in ("num_running_reqs", "num_queue_reqs", "token_usage")}
    assert wanted | {"sglang_generation_tokens_total"} <= samples
    assert not [name for name in samples if ":" in name]
    assert answer.text.endswith("# EOF\n")
