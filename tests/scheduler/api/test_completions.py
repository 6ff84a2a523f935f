"""Completions by prompt and exports, over HTTP, of a run that really ran on fake servers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.api.app import create_app
from scheduler.api.completion_responses import shortened
from scheduler.core.export import COLUMNS, ExportTable
from scheduler.core.types import Stage
from scheduler.state.keys import RunKeys
from tests.scheduler.api.bodies import Json
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES, make_config, make_settings
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

RATES = [SOMETIMES] * 4 + [ALWAYS] * 2 + [NEVER] * 2


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(redis, tmp_path, rates=RATES) as opened:
        yield opened


async def run_of_three_steps(rig: Rig) -> Learner:
    await rig.create_run(make_config(max_steps=3))
    learner = Learner(at=lambda: rig.service, folder=rig.folder)
    await learner.attach()
    await learner.train()
    await rig.ended()
    return learner


@pytest_asyncio.fixture
async def learner(rig: Rig) -> Learner:
    return await run_of_three_steps(rig)


@pytest_asyncio.fixture
async def http(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(rig.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as client:
        yield client


async def _ask(http: httpx.AsyncClient, path: str) -> Json:
    answer = await http.get(f"/v1/runs/run{path}")
    assert answer.status_code == 200, answer.text
    return cast(Json, answer.json())


async def _rows(http: httpx.AsyncClient, table: ExportTable, *, count: int = 7) -> list[Json]:
    rows: list[Json] = []
    after: object = ""
    while after is not None:
        page = await _ask(http, f"/export/{table}?count={count}&after={after}")
        rows += cast(list[Json], page["rows"])
        after = page["after"]
    return rows


async def test_a_trained_group_still_says_what_each_of_its_rollouts_answered(
    http: httpx.AsyncClient, learner: Learner
) -> None:
    group = learner.received[learner.batches[2][0]]
    page = await _ask(http, f"/prompts/{group.prompt_id}/completions?count=20")
    assert cast(Json, page["prompt"])["answer"] == "yes"
    visits = cast(list[Json], page["visits"])
    [visit] = [visit for visit in visits if visit["visit_id"] == group.group_id]
    assert (visit["verdict"], visit["status"], visit["kept"], visit["recorded"]) == ("published", "trained", True, True)
    said = {str(each["rid"]): each for each in cast(list[Json], visit["completions"])}
    assert {rid: (each["text"], each["reward"]) for rid, each in said.items()} == {
        rollout.rid: (rollout.text, rollout.reward) for rollout in group.rollouts
    }
    assert {each["text"] for each in said.values()} == {" yes", " no"}


async def test_visits_come_a_page_at_a_time_newest_first(http: httpx.AsyncClient, learner: Learner) -> None:
    often = max(await _rows(http, ExportTable.PROMPTS), key=lambda row: cast(int, row["visits"]))["prompt_id"]
    whole = await _ask(http, f"/prompts/{often}/completions?count=20")
    visits = cast(list[Json], whole["visits"])
    assert whole["num_visits"] == len(visits) > 1
    assert [visit["at"] for visit in visits] == sorted((visit["at"] for visit in visits), reverse=True)  # type: ignore[type-var]
    first = await _ask(http, f"/prompts/{often}/completions?count=1")
    assert (cast(list[Json], first["visits"])[0]["visit_id"], first["next_offset"]) == (visits[0]["visit_id"], 1)
    second = await _ask(http, f"/prompts/{often}/completions?count=20&offset={first['next_offset']}")
    assert [visit["visit_id"] for visit in cast(list[Json], second["visits"])] == [
        visit["visit_id"] for visit in visits[1:]
    ]
    assert second["next_offset"] is None


@pytest.mark.parametrize("table", [table for table in ExportTable if table is not ExportTable.LEDGER])
async def test_a_page_that_has_enough_text_ends_early_and_no_row_is_left_out(
    http: httpx.AsyncClient, learner: Learner, table: ExportTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await _rows(http, table, count=100)
    monkeypatch.setattr("scheduler.exports._MOST_CHARS", 1)
    monkeypatch.setattr("scheduler.exports._PROMPTS_AT_ONCE", 1)
    page = await _ask(http, f"/export/{table}?count=100")
    if table in (ExportTable.PROMPTS, ExportTable.HISTORY):
        assert len(cast(list[Json], page["rows"])) < len(whole)
    assert await _rows(http, table, count=100) == whole


async def test_what_is_not_kept_any_more_says_so(http: httpx.AsyncClient, learner: Learner, redis: Redis) -> None:
    keys = RunKeys("run")
    await redis.delete(keys.completions)
    [visit, *_] = cast(list[Json], (await _ask(http, "/prompts/q0/completions"))["visits"])
    assert (visit["kept"], visit["recorded"]) == (False, True)
    assert {each["text"] for each in cast(list[Json], visit["completions"])} == {None}
    await redis.delete(keys.records)
    [visit, *_] = cast(list[Json], (await _ask(http, "/prompts/q0/completions"))["visits"])
    assert (visit["recorded"], visit["completions"]) == (False, [])
    assert visit["verdict"]


async def test_a_run_that_is_to_keep_none_keeps_none(redis: Redis, tmp_path: Path) -> None:
    settings = replace(make_settings(), completions_kept_bytes=0)
    async with open_rig(redis, tmp_path, rates=RATES, settings=settings) as rig:
        await run_of_three_steps(rig)
    assert not await redis.exists(RunKeys("run").completions)


async def test_the_completions_of_a_prompt_that_is_not_there_are_not_found(
    http: httpx.AsyncClient, learner: Learner
) -> None:
    answer = await http.get("/v1/runs/run/prompts/Q1/completions")
    assert answer.status_code == 404
    assert "near it: q1" in answer.json()["detail"]


@pytest.mark.parametrize("table", ExportTable)
async def test_rows_have_exactly_the_documented_columns_whatever_the_page(
    http: httpx.AsyncClient, learner: Learner, table: ExportTable
) -> None:
    rows = await _rows(http, table)
    assert rows
    names = [column.name for column in COLUMNS[table]]
    needed = {column.name for column in COLUMNS[table] if not column.may_be_missing}
    for row in rows:
        assert list(row) == names
        assert not {name for name in needed if row[name] is None}
    assert rows == (await _rows(http, table, count=1000))


async def test_the_exported_ledger_sums_to_what_was_spent_and_completions_to_its_attempts(
    http: httpx.AsyncClient, learner: Learner, rig: Rig
) -> None:
    ledger = (await rig.view()).ledger
    rows = await _rows(http, ExportTable.LEDGER)
    sampled = [row for row in rows if row["stage"] in (Stage.PILOT, Stage.COMMIT)]
    for unit, spent in (("attempts", ledger.spent_rollouts), ("generated_tokens", ledger.spent_tokens)):
        assert sum(cast(int, row["value"]) for row in sampled if row["unit"] == unit) == spent
    completions = await _rows(http, ExportTable.COMPLETIONS)
    assert len(completions) == len({row["rid"] for row in completions}) == ledger.spent_rollouts
    assert sum(cast(int, row["tokens"]) for row in completions) == ledger.spent_tokens
    groups = await _rows(http, ExportTable.GROUPS)
    trained = {row["visit_id"] for row in groups if row["group_end"] == "trained"}
    assert trained == {name for batch in learner.batches.values() for name in batch}


async def test_a_page_is_not_asked_for_with_anything_else_than_was_answered(
    http: httpx.AsyncClient, learner: Learner
) -> None:
    answer = await http.get("/v1/runs/run/export/prompts?after=q7")
    assert (answer.status_code, answer.json()["field"]) == (422, "after")
    assert (await http.get("/v1/runs/run/export/everything")).status_code == 422
    assert (await http.get("/v1/runs/none/export/groups")).status_code == 404


@pytest.mark.parametrize(
    ("text", "most", "cut"),
    [("0123456789", 10, "0123456789"), ("0123456789", 5, "01…89"), ("0123456789", 6, "01…789"), ("abcd", 3, "a…d")],
)
def test_of_a_long_text_the_middle_is_left_out(text: str, most: int, cut: str) -> None:
    assert shortened(text, most) == cut
    assert len(cut) <= most
