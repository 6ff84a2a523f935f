"""Runs over HTTP: queued, steered and explained, whether or not an engine is at work on them."""

import time

import httpx
import pytest
import pytest_asyncio

from scheduler.core.ledger import Move, OpenState, Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Stage
from scheduler.service import Service
from scheduler.state.evaluations import EvaluationRecord, EvaluationStore, Measured
from scheduler.state.keys import RunKeys
from scheduler.state.row import Event
from scheduler.state.table import Table
from scheduler.state.transaction import Transactor
from tests.scheduler.api.bodies import make_run, upload
from tests.scheduler.state.stores import make_row


@pytest_asyncio.fixture
async def run(http: httpx.AsyncClient, sums: object) -> str:
    """A queued run over a pool of two prompts, named `first` and `second`."""
    await upload(http, {"id": "first", "text": "1"}, {"id": "second", "text": "2"})
    answer = await http.post("/v1/runs", json=make_run(run_id="run"))
    assert answer.status_code == 201
    return "run"


async def test_a_new_run_is_queued_with_its_defaults_written_out(http: httpx.AsyncClient, run: str) -> None:
    answer = (await http.get(f"/v1/runs/{run}")).json()
    assert (answer["state"], answer["step"], answer["version"]) == ("queued", 0, 0)
    assert answer["config"]["pilots"] == 8
    assert answer["config"]["sampling"]["temperature"] == 1.0
    assert answer["pilot_success_rate"] is None


async def test_an_id_is_taken_once(http: httpx.AsyncClient, run: str) -> None:
    answer = await http.post("/v1/runs", json=make_run(run_id=run))
    assert (answer.status_code, answer.json()["field"]) == (409, "run_id")


async def test_a_dry_run_answers_its_limits_and_creates_nothing(http: httpx.AsyncClient, sums: object) -> None:
    await upload(http, {"id": "first", "text": "1"}, {"id": "second", "text": "2"})
    answer = await http.post("/v1/runs/dry-run", json=make_run(run_id="run", budget={"rollouts": 100}, max_steps=2))
    assert answer.status_code == 200
    found = answer.json()
    assert (found["prompts"], found["held_out"], found["group_size"]) == (2, 0, 16)
    assert found["bounds"] == [
        {"limit": "max_steps", "value": 2, "groups": 4},
        {"limit": "budget.rollouts", "value": 100, "groups": 6},
    ]
    assert (found["steps"], found["most_rollouts"], found["most_tokens"], found["eval_rollouts"]) == (2, 100, 800, 0)
    assert found["config"]["max_staleness"] == 1
    assert (await http.get("/v1/runs")).json()["runs"] == []


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"run_id": "run"}, 409, "run_id"),
        ({"pool": "nowhere"}, 404, "pool"),
        ({"allocator": "guess"}, 422, "allocator"),
        ({"budget": {"rollouts": 3}}, 422, "budget.rollouts"),
        ({"evaluation": {"pool": "sums"}}, 422, "evaluation.pool"),
    ],
)
async def test_a_dry_run_refuses_what_creating_it_would_refuse(
    http: httpx.AsyncClient, run: str, changes: dict[str, object], status: int, field: str
) -> None:
    body = make_run(**changes)
    refused = [await http.post(path, json=body) for path in ("/v1/runs/dry-run", "/v1/runs")]
    assert [(answer.status_code, answer.json()["field"]) for answer in refused] == [(status, field)] * 2
    assert refused[0].json() == refused[1].json()


@pytest.mark.usefixtures("run")
async def test_runs_are_listed_oldest_first(http: httpx.AsyncClient) -> None:
    await http.post("/v1/runs", json=make_run(run_id="another"))
    listed = (await http.get("/v1/runs")).json()["runs"]
    assert [found["run_id"] for found in listed] == ["run", "another"]


async def test_a_paused_run_goes_back_to_the_queue_when_it_is_resumed(http: httpx.AsyncClient, run: str) -> None:
    paused = (await http.post(f"/v1/runs/{run}/pause")).json()
    assert (paused["state"], paused["waiting_for"]) == ("paused", "paused by an operator")
    assert (await http.post(f"/v1/runs/{run}/resume")).json()["state"] == "queued"


async def test_only_a_paused_run_can_be_resumed(http: httpx.AsyncClient, run: str) -> None:
    answer = await http.post(f"/v1/runs/{run}/resume")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:pilotcommit:Conflict")
    assert "queued, not paused" in answer.json()["detail"]


@pytest.mark.parametrize("order", ["pause", "resume", "cancel"])
async def test_a_cancelled_run_takes_no_more_orders(http: httpx.AsyncClient, run: str, order: str) -> None:
    cancelled = await http.post(f"/v1/runs/{run}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert cancelled.json()["ended_at"] is not None
    assert (await http.post(f"/v1/runs/{run}/{order}")).status_code == 409


@pytest.mark.parametrize("path", ["", "/ledger", "/weights", "/evaluations", "/prompts/first", "/evaluations/e"])
async def test_a_run_that_is_not_there_is_named_in_the_problem(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(f"/v1/runs/nowhere{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pilotcommit:NotFound")
    assert "nowhere" in answer.json()["detail"]


async def test_the_ledger_says_what_became_of_every_attempt(
    http: httpx.AsyncClient, run: str, service: Service
) -> None:
    transactor = Transactor(service.redis, RunKeys(run), None)
    change = transactor.begin()
    change.move(
        Move(stage=Stage.PILOT, source=None, to=OpenState.IN_FLIGHT, count=5),
        Move(stage=Stage.PILOT, source=OpenState.IN_FLIGHT, to=Outcome.LOST, count=2),
    )
    change.count("verdict:skip", 3)
    change.count("reason:skip:too_easy", 3)
    await transactor.apply(change)

    ledger = (await http.get(f"/v1/runs/{run}/ledger")).json()

    assert ledger["balanced"] is True
    assert ledger["stages"]["pilot"]["attempts"] == 5
    assert ledger["stages"]["pilot"]["open"]["in_flight"] == 3
    assert ledger["stages"]["pilot"]["outcomes"]["lost"] == 2
    assert (ledger["verdicts"], ledger["reasons"]) == ({"skip": 3}, {"skip:too_easy": 3})


async def _defer(service: Service, run: str, prompt_id: str) -> None:
    """Judge a prompt too hard until weight version 9."""
    transactor = Transactor(service.redis, RunKeys(run), None)
    table = Table(service.redis, RunKeys(run), seed=0)
    change = transactor.begin()
    table.place(change, prompt_id, make_row(visits=2, next_version=9), PromptState.WAITING)
    table.remember(change, prompt_id, Event(at=time.time(), version=4, what="defer", reason="too_hard", pilots=8))
    await transactor.apply(change)


async def test_a_deferred_prompt_says_why_and_when_it_returns(
    http: httpx.AsyncClient, run: str, service: Service
) -> None:
    await _defer(service, run, "first")
    page = (await http.get(f"/v1/runs/{run}/prompts/first")).json()
    assert (page["state"], page["next_version"], page["visits"]) == ("waiting", 9, 2)
    assert (page["history"][0]["what"], page["history"][0]["reason"]) == ("defer", "too_hard")
    assert 0.0 <= page["informativeness"] <= 0.25


async def test_a_reinstated_prompt_is_claimable_at_once(http: httpx.AsyncClient, run: str, service: Service) -> None:
    await _defer(service, run, "first")
    page = (await http.post(f"/v1/runs/{run}/prompts/first/reinstate")).json()
    assert (page["state"], page["history"][0]["what"]) == ("ready", "reinstated")
    assert (await http.post(f"/v1/runs/{run}/prompts/first/reinstate")).status_code == 409


async def test_a_prompt_never_considered_has_no_history(http: httpx.AsyncClient, run: str) -> None:
    page = (await http.get(f"/v1/runs/{run}/prompts/second")).json()
    assert (page["visits"], page["history"], page["success_rate"], page["last_verdict"]) == (0, [], None, None)


async def test_a_prompt_that_the_pool_does_not_have_is_not_found(http: httpx.AsyncClient, run: str) -> None:
    answer = await http.get(f"/v1/runs/{run}/prompts/third")
    assert (answer.status_code, answer.json()["field"]) == (404, "prompt")


async def test_a_run_without_an_engine_cannot_be_evaluated_yet(http: httpx.AsyncClient, run: str) -> None:
    answer = await http.post(f"/v1/runs/{run}/evaluations", json={"pool": "sums"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:pilotcommit:NotAtWork")
    assert (await http.get(f"/v1/runs/{run}/evaluations")).json() == {"evaluations": []}


async def test_a_budget_is_raised_by_name_and_what_is_wrong_is_told_by_field(http: httpx.AsyncClient, run: str) -> None:
    await http.post("/v1/runs", json=make_run(run_id="limited", budget={"rollouts": 100}))
    path = "/v1/runs/limited/budget"
    answer = await http.post(path, json={"rollouts": 500})
    assert (answer.status_code, answer.json()["config"]["budget"]["rollouts"]) == (200, 500)
    for body, field in (({"rollouts": 499}, "rollouts"), ({"tokens": 10}, "tokens"), ({"rollouts": 0}, "rollouts")):
        refused = await http.post(path, json=body)
        assert (refused.status_code, refused.json()["field"]) == (422, field)
    nothing = await http.post(path, json={})
    assert (nothing.status_code, "name at least one" in nothing.json()["detail"]) == (422, True)
    await http.post("/v1/runs/limited/cancel")
    over = await http.post(path, json={"rollouts": 900})
    assert (over.status_code, "ending" in over.json()["detail"]) == (409, True)
    assert (await http.post("/v1/runs/nobody/budget", json={"rollouts": 9})).status_code == 404


async def test_results_by_prompt_are_left_out_where_they_are_not_wanted(
    http: httpx.AsyncClient, service: Service, run: str
) -> None:
    record = EvaluationRecord(
        evaluation_id="e",
        pool="sums",
        num_rollouts=1,
        num_prompts=1,
        created_at=1.0,
        results={"first": Measured(correct=1, judged=2)},
    )
    await EvaluationStore(service.redis, Transactor(service.redis, RunKeys(run), None), cap=None).put(record)
    [whole] = (await http.get(f"/v1/runs/{run}/evaluations")).json()["evaluations"]
    [brief] = (await http.get(f"/v1/runs/{run}/evaluations?results=false")).json()["evaluations"]
    assert set(whole["results"]) == {"first"}
    assert brief == {**whole, "results": {}}
