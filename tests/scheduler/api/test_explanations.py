"""What happened, over HTTP: the stories of a run that really ran, and of what was in it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.api.app import create_app
from tests.scheduler.api.bodies import Json
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

RATES = [SOMETIMES] * 12 + [ALWAYS] * 3 + [NEVER] * 3


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    """A scheduler at work on a pool with prompts of each kind."""
    async with open_rig(redis, tmp_path, rates=RATES) as opened:
        yield opened


@pytest_asyncio.fixture
async def learner(rig: Rig) -> Learner:
    """The learner of a run of three steps that has ended."""
    await rig.create_run(make_config(max_steps=3))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train()
    await rig.ended()
    return learner


@pytest_asyncio.fixture
async def over_http(rig: Rig, learner: Learner) -> AsyncIterator[httpx.AsyncClient]:
    """The API, once the run has ended."""
    transport = httpx.ASGITransport(create_app(rig.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as client:
        yield client


async def _ask(http: httpx.AsyncClient, path: str) -> Json:
    answer = await http.get(f"/v1/runs/run{path}")
    assert answer.status_code == 200, answer.text
    return cast(Json, answer.json())


async def test_a_run_is_told_with_its_ledger_and_its_course(over_http: httpx.AsyncClient) -> None:
    told = await _ask(over_http, "/explain")
    assert told["kind"] == "run"
    course = cast(list[dict[str, object]], told["course"])
    states = [event["state"] for event in course if event["what"] == "state"]
    assert states == ["waiting_weights", "running", "draining", "finished"]
    assert [event["what"] for event in course if event["what"] in ("learner", "scheduler")] == ["scheduler", "learner"]
    assert cast(Json, told["ledger"])["groups_trained"] == 12
    assert cast(Json, told["newest_weights"])["version"] == 4
    assert set(cast(Json, told["state_s"])) == {"queued", "waiting_weights", "running", "draining"}


async def test_a_group_and_each_of_its_rollouts_say_where_they_were_made_and_what_became_of_them(
    over_http: httpx.AsyncClient, learner: Learner
) -> None:
    group = learner.received[learner.batches[2][0]]
    visit = cast(Json, (await _ask(over_http, f"/groups/{group.group_id}/explain"))["visit"])
    attempts = cast(list[Json], visit["attempts"])
    assert (visit["prompt_id"], visit["status"]) == (group.prompt_id, "trained")
    assert cast(Json, visit["group_ending"])["step"] == 2
    assert {str(attempt["rid"]): attempt["reward"] for attempt in attempts} == {
        rollout.rid: rollout.reward for rollout in group.rollouts
    }
    rollout = group.rollouts[-1]
    told = cast(Json, (await _ask(over_http, f"/rollouts/{rollout.rid}/explain"))["attempt"])
    assert (told["stage"], told["status"], told["server"]) == ("commit", "trained", "http://fake0")
    assert (told["oldest_version"], told["tokens"]) == (rollout.oldest_version, len(rollout.token_ids))


async def test_every_attempt_of_the_ledger_is_on_record_with_its_end(over_http: httpx.AsyncClient, rig: Rig) -> None:
    ends: dict[str, int] = {}
    for number in range(len(RATES)):
        told = await _ask(over_http, f"/prompts/q{number}/explain")
        for visit in cast(list[Json], told["visits"]):
            for attempt in cast(list[Json], visit["attempts"]):
                end = f"{attempt['stage']}:{attempt['status']}"
                ends[end] = ends.get(end, 0) + 1
    ledger = (await rig.view()).ledger
    assert ends == {
        f"{stage}:{outcome}": count
        for stage, line in ledger.stages.items()
        for outcome, count in line.outcomes.items()
        if count
    }


async def test_a_name_is_a_prompt_or_a_group_or_a_rollout_by_itself(
    over_http: httpx.AsyncClient, learner: Learner
) -> None:
    group = learner.received[learner.batches[1][0]]
    for name, kind in ((group.prompt_id, "prompt"), (group.group_id, "group"), (group.rollouts[0].rid, "rollout")):
        assert (await _ask(over_http, f"/explain?name={name}"))["kind"] == kind


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Q1", "near it: q1"),
        ("0123456789abcdef-1-0", "nothing is recorded of group 0123456789abcdef in run run"),
        ("eval-1-q0-1-0", "evaluation"),
    ],
)
async def test_what_is_not_there_is_answered_with_what_is_near_or_where_to_look(
    over_http: httpx.AsyncClient, name: str, said: str
) -> None:
    answer = await over_http.get("/v1/runs/run/explain", params={"name": name})
    assert answer.status_code == 404
    assert said in answer.json()["detail"]
    assert "near it: run" in (await over_http.get("/v1/runs/rum/explain")).json()["detail"]


async def test_prompts_never_solved_come_with_their_reference_answer(over_http: httpx.AsyncClient) -> None:
    page = await _ask(over_http, "/unsolved?min_rollouts=4")
    prompts = cast(list[Json], page["prompts"])
    assert page["total"] == len(prompts) > 0
    right_at_times = {f"q{number}" for number, rate in enumerate(RATES) if rate == ALWAYS}
    assert not right_at_times & {str(each["prompt_id"]) for each in prompts}
    for each in prompts:
        answered = cast(Json, each["answered"])
        assert (each["answer"], answered["text"]) == ("yes", "no")
        assert cast(int, answered["count"]) <= cast(int, each["rollouts"])
