"""Pools over HTTP: created once, filled line by line, never emptied by a mistake."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from scheduler.state.pools import PoolRecord
from tests.scheduler.api.bodies import Json, ndjson, upload


def _pool(folder: Path, **changes: object) -> Json:
    return {"name": "sums", "tokenizer": str(folder), "reward": "numeric", **changes}


async def test_a_new_pool_takes_prompts_as_long_as_the_context_leaves_room_for_an_answer(
    http: httpx.AsyncClient, model_folder: Path
) -> None:
    answer = await http.post("/v1/pools", json=_pool(model_folder))
    assert answer.status_code == 201
    assert (answer.json()["max_prompt_tokens"], answer.json()["num_prompts"]) == (2047, 0)
    assert (await http.get("/v1/pools/sums")).json() == answer.json()


async def test_creating_the_same_pool_again_changes_nothing(http: httpx.AsyncClient, model_folder: Path) -> None:
    first = (await http.post("/v1/pools", json=_pool(model_folder))).json()
    again = await http.post("/v1/pools", json=_pool(model_folder))
    assert (again.status_code, again.json()) == (201, first)


@pytest.mark.usefixtures("sums")
async def test_pools_are_listed_with_their_sizes(http: httpx.AsyncClient) -> None:
    await upload(http, {"text": "1"}, {"text": "2"})
    [listed] = (await http.get("/v1/pools")).json()["pools"]
    assert (listed["name"], listed["num_prompts"]) == ("sums", 2)


@pytest.mark.usefixtures("sums")
async def test_an_upload_without_a_refusal_is_answered_with_its_counts(http: httpx.AsyncClient) -> None:
    await upload(http, {"text": "1"})
    answer = await upload(http, {"text": "1"}, {"text": "2"})
    assert (answer.status_code, answer.json()) == (200, {"added": 1, "unchanged": 1, "refused": []})


async def test_a_refused_line_is_reported_and_every_other_line_is_stored(
    http: httpx.AsyncClient, sums: PoolRecord
) -> None:
    answer = await upload(http, {"text": "1"}, {"id": "odd", "text": "2", "label": "x"}, {"text": "3"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:pilotcommit:LinesRefused")
    assert (problem["added"], problem["unchanged"]) == (2, 0)
    [refused] = problem["refused"]
    assert (refused["line"], problem["field"]) == (2, "line 2")
    assert "label" in refused["reason"]
    assert (await http.get(f"/v1/pools/{sums.name}")).json()["num_prompts"] == 2


@pytest.mark.usefixtures("sums")
async def test_an_upload_may_come_in_pieces_that_do_not_end_with_a_line(http: httpx.AsyncClient) -> None:
    body = ndjson({"text": str(number)} for number in range(20))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    answer = await http.post("/v1/pools/sums/prompts", content=pieces())
    assert answer.json()["added"] == 20


async def test_a_preview_tells_of_every_line_and_stores_none(http: httpx.AsyncClient, sums: PoolRecord) -> None:
    lines = ndjson([{"id": "a", "text": "1+1=", "answer": "2", "metadata": {"k": "v"}}, {"id": "b", "text": ""}])
    answer = await http.post("/v1/pools/sums/preview", content=lines)
    seen = {"line": 1, "prompt_id": "a", "text": "1+1=", "answer": "2", "num_tokens": 4, "metadata": {"k": "v"}}
    refused = {"line": 2, "id": "b", "reason": "an empty prompt: a server needs at least one token id"}
    assert (answer.status_code, answer.json()) == (200, {"prompts": [seen], "refused": [refused]})
    assert (await http.get(f"/v1/pools/{sums.name}")).json()["num_prompts"] == 0


@pytest.mark.usefixtures("sums")
async def test_a_preview_names_a_prompt_as_an_upload_does(http: httpx.AsyncClient) -> None:
    line = {"input_ids": [5, 1, 2], "answer": "2"}
    [seen] = (await http.post("/v1/pools/sums/preview", content=ndjson([line]))).json()["prompts"]
    assert seen["text"] == "1<bos><eos>"
    await upload(http, line)
    stored = await http.get(f"/v1/pools/sums/prompts/{seen['prompt_id']}")
    assert stored.json()["num_tokens"] == 3


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("num_lines", [100, 101])
async def test_a_preview_takes_a_hundred_lines(http: httpx.AsyncClient, num_lines: int) -> None:
    answer = await http.post("/v1/pools/sums/preview", content=ndjson([{"text": "1"}] * num_lines))
    if num_lines == 100:
        assert len(answer.json()["prompts"]) == 100
    else:
        assert (answer.status_code, answer.json()["field"]) == (422, "line 101")
        assert "100 lines at most" in answer.json()["detail"]


@pytest.mark.usefixtures("sums")
async def test_a_preview_is_no_way_around_the_limit_on_bodies(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/pools/sums/preview", content=b" " * (9 << 20))
    assert answer.status_code == 413


async def test_a_preview_needs_a_pool(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/pools/nowhere/preview", content=ndjson([{"text": "1"}]))
    assert (answer.status_code, answer.json()["field"]) == (404, "pool")


async def test_prompts_for_a_pool_that_is_not_there_are_refused(http: httpx.AsyncClient) -> None:
    answer = await upload(http, {"text": "1"}, pool="nowhere")
    assert (answer.status_code, answer.json()["field"]) == (404, "pool")
