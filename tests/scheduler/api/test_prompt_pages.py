"""A run's prompts a page at a time, and how informative they are."""

import httpx
import pytest
import pytest_asyncio

from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Verdict
from scheduler.service import Service
from scheduler.state.keys import RunKeys
from scheduler.state.row import Row
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from tests.scheduler.api.bodies import make_run, upload
from tests.scheduler.core.factories import make_evidence

NUM_PROMPTS = 250


@pytest_asyncio.fixture
async def run(http: httpx.AsyncClient, service: Service, sums: object) -> str:
    """A run of 250 prompts, of which every tenth is deferred, the first is set aside and the last was never visited."""
    await upload(http, *({"id": f"Q-{number:03}", "text": "1", "answer": "2"} for number in range(NUM_PROMPTS)))
    await http.post("/v1/runs", json=make_run(run_id="run"))
    keys = RunKeys("run")
    table, transactor = Table(service.redis, keys, seed=0), Transactor(service.redis, keys, None)
    names = [f"Q-{number:03}" for number in range(NUM_PROMPTS)]
    await table.seed_prompts(transactor, names, NUM_PROMPTS)
    transaction = transactor.begin()
    for number, name in enumerate(names[:-1]):
        deferred = number % 10 == 5
        row = Row(evidence=make_evidence(verdicts=(Verdict.DEFER if deferred else Verdict.SKIP,)), next_version=number)
        state = PromptState.WAITING if deferred else PromptState.QUARANTINED if not number else PromptState.READY
        if state is not PromptState.READY:
            transaction.run("ZREM", keys.ready, name)
        table.place(transaction, name, row, state)
    await transactor.apply(transaction)
    return "run"


async def _all(http: httpx.AsyncClient, **wanted: object) -> list[dict[str, object]]:
    """Every page, one after the other."""
    found: list[dict[str, object]] = []
    offset: int | None = 0
    while offset is not None:
        params = {"count": 7, "offset": offset, **wanted}
        page = (await http.get("/v1/runs/run/prompts", params=params)).json()  # type: ignore[arg-type]
        found += page["prompts"]
        offset = page["next_offset"]
    return found


async def test_the_pages_together_are_every_prompt_once_in_order_of_arrival(http: httpx.AsyncClient, run: str) -> None:
    found = await _all(http)
    assert [prompt["prompt_id"] for prompt in found] == [f"Q-{number:03}" for number in range(NUM_PROMPTS)]
    assert [found[0]["state"], found[1]["state"], found[5]["state"]] == ["quarantined", "ready", "waiting"]
    assert (found[5]["next_version"], found[1]["next_version"]) == (5, None)
    assert (found[-1]["visits"], found[-1]["informativeness"], found[-1]["last_verdict"]) == (0, None, None)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"state": "waiting"}, 25),
        ({"state": "quarantined"}, 1),
        ({"state": "claimed"}, 0),
        ({"state": "ready"}, 224),
        ({"verdict": "defer"}, 25),
        ({"verdict": "evict"}, 0),
        ({"like": "q-00"}, 10),
        ({"like": "q-00", "verdict": "defer", "state": "waiting"}, 1),
    ],
)
async def test_a_filter_keeps_what_it_names(
    http: httpx.AsyncClient, run: str, wanted: dict[str, object], count: int
) -> None:
    found = await _all(http, **wanted)
    assert len({prompt["prompt_id"] for prompt in found}) == len(found) == count
    for prompt in found:
        assert wanted.get("state", prompt["state"]) == prompt["state"]
        assert wanted.get("verdict", prompt["last_verdict"]) == prompt["last_verdict"]


async def test_waiting_prompts_come_in_the_order_in_which_they_return(http: httpx.AsyncClient, run: str) -> None:
    versions = [prompt["next_version"] for prompt in await _all(http, state="waiting")]
    assert versions == sorted(versions)  # type: ignore[type-var]


async def test_a_state_that_does_not_exist_is_refused_by_name(http: httpx.AsyncClient, run: str) -> None:
    answer = await http.get("/v1/runs/run/prompts", params={"state": "gone"})
    assert (answer.status_code, answer.json()["field"]) == (422, "query.state")


async def test_the_histogram_counts_what_was_visited(http: httpx.AsyncClient, run: str) -> None:
    found = (await http.get("/v1/runs/run/informativeness")).json()
    assert (found["visited"], found["sampled"]) == (249, 249)
    counts = [bin["counts"] for bin in found["bins"]]
    assert sum(each.get("defer", 0) for each in counts) == 25
    assert sum(each.get("skip", 0) for each in counts) == 224


async def test_nothing_visited_is_an_empty_histogram(http: httpx.AsyncClient, sums: object) -> None:
    await upload(http, {"id": "only", "text": "1"})
    await http.post("/v1/runs", json=make_run(run_id="run"))
    found = (await http.get("/v1/runs/run/informativeness")).json()
    assert (found["visited"], {str(bin["counts"]) for bin in found["bins"]}) == (0, {"{}"})


async def test_what_a_prompt_asks_is_told_with_its_answer(http: httpx.AsyncClient, run: str) -> None:
    found = (await http.get("/v1/pools/sums/prompts/Q-001")).json()
    assert (found["text"], found["answer"], found["num_tokens"]) == ("1", "2", 1)
    assert (await http.get("/v1/pools/sums/prompts/nobody")).status_code == 404
    assert (await http.get("/v1/pools/nowhere/prompts/Q-001")).json()["field"] == "pool"
