"""The client asks what the API offers, and raises what the API refused as the error it was."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
import pytest_asyncio

from scheduler.api.run_requests import NewEvaluation
from scheduler.client import Client, Json
from scheduler.core.errors import (
    BudgetExhausted,
    Conflict,
    InvalidInput,
    NotAtWork,
    NotFound,
    PilotCommitError,
    ServerUnavailable,
    StaleIncarnation,
)
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.service import Service
from tests.scheduler.api.bodies import add_pool, make_run
from tests.scheduler.served import served


@pytest_asyncio.fixture
async def client(service: Service, model_folder: Path) -> AsyncIterator[Client]:
    """A client of a scheduler that has an empty pool `sums`; its calls block, so they are made in threads."""
    await add_pool(service.pools, model_folder)
    async with served(service) as url:
        with Client(url) as client:
            yield client


async def test_a_pool_is_made_filled_and_shown(client: Client, model_folder: Path) -> None:
    def work() -> tuple[Json, list[object]]:
        client.create_pool("facts", tokenizer=str(model_folder), reward="exact", max_prompt_tokens=9)
        client.add_prompts("facts", [{"text": "1"}, '{"text": "2"}', b'{"text": "3"}\n'])
        return client.pool("facts"), [pool["name"] for pool in client.pools()]

    pool, names = await asyncio.to_thread(work)
    assert (pool["num_prompts"], pool["max_prompt_tokens"], names) == (3, 9, ["facts", "sums"])


async def test_an_upload_is_streamed_as_it_is_read(client: Client) -> None:
    given: list[int] = []

    def lines() -> Iterator[dict[str, object]]:
        for number in range(2000):
            given.append(number)
            yield {"id": f"p{number}", "text": "1"}

    report = await asyncio.to_thread(lambda: client.add_prompts("sums", lines()))
    assert (report["added"], len(given)) == (2000, 2000)


def test_an_upload_goes_out_in_pieces_of_many_lines() -> None:
    pieces: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/x-ndjson"
        pieces.extend(cast(Iterable[bytes], request.stream))
        return httpx.Response(200, json={"added": 5000, "unchanged": 0, "refused": []})

    with Client("http://scheduler", transport=_Unread(answer)) as client:
        client.add_prompts("sums", ({"text": f"{number} + 1 ="} for number in range(5000)))
    assert b"".join(pieces).count(b"\n") == 5000
    assert 1 < len(pieces) < 10
    assert all(piece.endswith(b"\n") for piece in pieces)


async def test_a_refused_line_is_in_the_report_and_raises_nothing(client: Client) -> None:
    report = await asyncio.to_thread(lambda: client.add_prompts("sums", [{"text": "1"}, {"text": ""}]))
    assert report["added"] == 1
    [refused] = cast(list[Json], report["refused"])
    assert refused["line"] == 2


async def test_a_preview_tells_of_every_line_and_stores_none(client: Client) -> None:
    lines = [{"text": "1"}, {"text": ""}]
    found = await asyncio.to_thread(lambda: client.preview_prompts("sums", lines))
    [shown] = cast(list[Json], found["prompts"])
    [refused] = cast(list[Json], found["refused"])
    assert (shown["line"], shown["text"], refused["line"]) == (1, "1", 2)
    assert (await asyncio.to_thread(client.pool, "sums"))["num_prompts"] == 0
    with pytest.raises(InvalidInput, match="100 lines at most"):
        await asyncio.to_thread(lambda: client.preview_prompts("sums", [{"text": "1"}] * 101))


async def test_a_run_is_queued_steered_and_ended(client: Client) -> None:
    def work() -> list[object]:
        client.add_prompts("sums", [{"id": "p", "text": "1"}])
        run_id = str(client.create_run(make_run(run_id="run"))["run_id"])
        states = [order(run_id)["state"] for order in (client.pause, client.resume, client.cancel, client.run)]
        assert client.ledger(run_id)["balanced"] is True
        assert (client.weights(run_id), client.evaluations(run_id), client.servers()) == ([], [], [])
        return [*states, *(run["run_id"] for run in client.runs())]

    assert await asyncio.to_thread(work) == ["paused", "queued", "cancelled", "cancelled", "run"]


@pytest.mark.parametrize("prompt_id", ["a b", "50%", "why?", "#1", "a%2Fb", "prompt é", "..x"])
async def test_a_prompt_is_found_whatever_its_id_is_made_of(client: Client, prompt_id: str) -> None:
    def work() -> object:
        client.add_prompts("sums", [{"id": prompt_id, "text": "1"}])
        client.create_run(make_run(run_id="run"))
        return client.prompt("run", prompt_id)["prompt_id"]

    assert await asyncio.to_thread(work) == prompt_id


async def test_an_error_comes_back_with_its_class_its_words_and_its_field(client: Client) -> None:
    def work() -> None:
        client.create_run(make_run(pool="sums", batch_size=0))

    with pytest.raises(InvalidInput, match="0 is below 1") as refusal:
        await asyncio.to_thread(work)
    assert refusal.value.field == "batch_size"
    with pytest.raises(NotFound):
        await asyncio.to_thread(lambda: client.run("nowhere"))
    with pytest.raises(NotFound):
        await asyncio.to_thread(lambda: client.add_prompts("nowhere", [{"text": "1"}]))


class _Unread(httpx.BaseTransport):
    """Answers a request whose body it has not read before."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request)


def test_every_weight_version_is_read_page_by_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        newest = min(int(asked.get("before", 2502)) - 1, 2501)
        page = range(newest, max(0, newest - int(asked["count"])), -1)
        return httpx.Response(200, json={"weights": [{"version": version} for version in page]})

    client = Client("http://scheduler", transport=httpx.MockTransport(answer))
    assert [record["version"] for record in client.all_weights("run")] == list(range(2501, 0, -1))
    assert [record["version"] for record in client.weights("run", count=2, before=9)] == [8, 7]


def test_an_evaluation_is_asked_for_with_its_measure_and_its_target() -> None:
    sent: list[Json] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(202, json={})

    client = Client("http://scheduler", transport=httpx.MockTransport(answer))
    client.evaluate("run", pool="held-out", rollouts=2)
    client.evaluate("run", pool="held-out", measure=EvaluationMeasure.LIKELIHOOD, target="{answer}!")
    for body, expected in zip(
        sent, ({"measure": "rollouts"}, {"measure": "likelihood", "target": "{answer}!"}), strict=True
    ):
        read = NewEvaluation.model_validate(body)
        assert read.model_dump(include=set(expected)) == expected


def _answering(response: httpx.Response) -> Client:
    return Client("http://scheduler", transport=httpx.MockTransport(lambda request: response))


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "NotAtWork", NotAtWork),
        (409, "StaleIncarnation", StaleIncarnation),
        (409, "BudgetExhausted", BudgetExhausted),
        (422, "InvalidInput", InvalidInput),
        (405, "Http", InvalidInput),
        (422, "KeyError", InvalidInput),
        (500, "Internal", ServerUnavailable),
        (503, "FenceLost", ServerUnavailable),
        (429, "about:blank", ServerUnavailable),
    ],
)
def test_a_problem_is_raised_as_what_it_names_if_that_is_ours(
    status: int, kind: str, expected: type[PilotCommitError]
) -> None:
    document = {"type": f"urn:pilotcommit:{kind}", "title": "title", "status": status, "detail": "the detail"}
    with _answering(httpx.Response(status, json=document)) as client, pytest.raises(PilotCommitError) as raised:
        client.runs()
    assert type(raised.value) is expected
    assert "the detail" in str(raised.value)


def test_an_answer_that_is_no_problem_document_is_shown_with_its_status() -> None:
    with (
        _answering(httpx.Response(502, text="<h1>Bad gateway</h1>")) as client,
        pytest.raises(ServerUnavailable, match=r"502.*Bad gateway"),
    ):
        client.runs()
    with (
        _answering(httpx.Response(413, text="too large")) as client,
        pytest.raises(ServerUnavailable, match=r"413.*too large"),
    ):
        client.add_prompts("sums", [])


def test_whoever_answers_in_place_of_a_scheduler_is_shown() -> None:
    with (
        _answering(httpx.Response(200, text="<h1>It works!</h1>")) as client,
        pytest.raises(ServerUnavailable, match=r"http://scheduler/v1/runs is not a scheduler's.*It works"),
    ):
        client.runs()


def test_a_scheduler_that_is_not_there_is_named_with_what_to_do(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with Client(url) as client, pytest.raises(ServerUnavailable, match="pilotcommit up") as raised:
        client.runs()
    assert url in str(raised.value)
