"""Whatever is wrong with a request, its answer says where and what would be right, and nothing accepted is lost."""

from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from scheduler.api.problems import PROBLEM_JSON
from scheduler.prompts import MAX_LINE_BYTES
from scheduler.service import Service
from tests.scheduler.api.bodies import Json, add_pool, make_run, upload

LONG = 64
"""The pool's longest prompt; the model's context is 2048."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One bad request; FOLDER in it stands for the model's folder."""

    name: str
    path: str
    body: bytes
    status: int = 422
    field: str | None
    words: tuple[str, ...]
    """What the detail has to say."""


def run(name: str, field: str | None, /, *words: str, status: int = 422, **changes: object) -> Case:
    body = msgspec.json.encode(make_run(**changes))
    return Case(name=name, path="/v1/runs", body=body, status=status, field=field, words=words)


def pool(
    name: str, field: str | None, /, *words: str, status: int = 422, raw: bytes | None = None, **changes: object
) -> Case:
    body: Json = {"name": "new", "tokenizer": "FOLDER", "reward": "exact", **changes}
    encoded = raw if raw is not None else msgspec.json.encode(body)
    return Case(name=name, path="/v1/pools", body=encoded, status=status, field=field, words=words)


def line(name: str, /, *words: str, raw: bytes | None = None, **prompt: object) -> Case:
    body = raw if raw is not None else msgspec.json.encode({"answer": "7", **prompt})
    return Case(name=name, path="/v1/pools/sums/prompts", body=body, field="line 1", words=words)


def _sampling(**changes: object) -> Json:
    return {"max_new_tokens": 8, **changes}


CASES = (
    run("unknown field of a run", "batchsize", "batchsize", "not permitted", batchsize=4),
    run("unknown field of the sampling", "sampling.heat", "heat", sampling={"max_new_tokens": 8, "heat": 1.0}),
    Case(name="missing field", path="/v1/runs", body=b'{"pool": "sums"}', field="sampling", words=("required",)),
    run("empty pool", "pool", "no prompts", "add some", pool="empty"),
    run("pool that is not there", "pool", "nowhere", status=404, pool="nowhere"),
    run("negative rollout budget", "budget.rollouts", "-5", budget={"rollouts": -5}),
    run("negative token budget", "budget.tokens", "-1", budget={"tokens": -1}),
    run("budget below one group", "budget.rollouts", "3 rollouts", "group of 16", budget={"rollouts": 3}),
    Case(
        name="endless wall clock",
        path="/v1/runs",
        body=b'{"pool": "sums", "sampling": {"max_new_tokens": 8}, "budget": {"wall_clock_s": 1e999}}',
        field="budget.wall_clock_s",
        words=("finite",),
    ),
    run("batch size 0", "batch_size", "0 is below 1", batch_size=0),
    run("negative staleness", "max_staleness", "-1", max_staleness=-1),
    run("group of one", "commits", "group of 1", pilots=1, commits=0),
    run("temperature 0", "sampling.temperature", "identical", sampling={"max_new_tokens": 8, "temperature": 0}),
    run("top_p above 1", "sampling.top_p", "1", sampling={"max_new_tokens": 8, "top_p": 1.5}),
    run("temperature that is as good as 0", "sampling.temperature", "identical", sampling=_sampling(temperature=1e-9)),
    run("the 0 likeliest tokens", "sampling.top_k", "-1 is all", sampling=_sampling(top_k=0)),
    run("stop string that is always there", "sampling.stop.0", "at least 1 character", sampling=_sampling(stop=[""])),
    run("group that no server can take", "commits", "4096", commits=10_000_000),
    run("number that no script counts", "budget.rollouts", "1000000000000000", budget={"rollouts": 10**25}),
    run("token budget below one group", "budget.tokens", "127 tokens", "128", budget={"tokens": 127}),
    run("no new tokens", "sampling.max_new_tokens", "0 is below 1", sampling={"max_new_tokens": 0}),
    run("unknown allocator", "allocator", "'magic'", "pilot_commit", allocator="magic"),
    run("unknown parameter", "parameters.luck", "luck", parameters={"luck": 1}),
    run("evaluation on the training pool", "evaluation.pool", "trains on", evaluation={"pool": "sums"}),
    run("unknown measure", "evaluation.measure", "likelihood", evaluation={"pool": "held-out", "measure": "luck"}),
    run("target without an answer", "evaluation.target", "{answer}", evaluation={"pool": "held-out", "target": "7"}),
    run("id with a slash", "run_id", "pattern", run_id="a/b"),
    Case(name="no JSON", path="/v1/runs", body=b"{", field=None, words=("JSON",)),
    Case(name="no object", path="/v1/runs", body=b"[]", field=None, words=("object",)),
    Case(name="no route", path="/v1/nothing", body=b"{}", status=404, field=None, words=("/v1/nothing", "/docs")),
    pool("unknown tokenizer", "tokenizer", "no/such/model", "no hub", tokenizer="no/such/model"),
    pool("tokenizer without a name", "tokenizer", "at least 1 character", tokenizer=""),
    pool("tokenizer with a name too long", "tokenizer", "not a folder", tokenizer="x" * 300),
    pool("half of a surrogate pair", "reward", "unicode", raw=b'{"name": "n", "tokenizer": "t", "reward": "\\ud800"}'),
    pool("folder without a model", "tokenizer", "config.json", tokenizer="/"),
    pool("unknown reward", "reward", "'luck'", "exact", reward="luck"),
    pool("reward without its function", "reward", "python:module:function", reward="python:somewhere"),
    pool("reward that cannot be imported", "reward", "no_such_module", reward="python:no_such_module:judge"),
    pool("prompts as long as the context", "max_prompt_tokens", "2048", max_prompt_tokens=2048),
    pool("unknown field of a pool", "tokeniser", "tokeniser", tokeniser="FOLDER"),
    pool("name with a space", "name", "pattern", name="my pool"),
    pool("name taken by another pool", "name", "another", status=409, name="sums", max_prompt_tokens=12),
    line("invalid JSON", "malformed", raw=b'{"text" "1 + 1 ="}'),
    line("trailing JSON", "trailing", raw=b'{"text": "1 + 1 ="} {"text": "2 + 2 ="}'),
    line("invalid UTF-8", "utf-8", "0xff", raw=b'{"text": "\xff"}'),
    line("lone surrogate", raw=b'{"text": "\\ud800"}'),
    line("line beyond a mebibyte", str(MAX_LINE_BYTES), raw=b'{"text": "' + b"1" * MAX_LINE_BYTES + b'"}'),
    line("line that is no object", "object", raw=b"[1, 2]"),
    line("unknown field of a prompt", "anwser", text="1 + 1 =", anwser="2"),
    line("wrong type", "answer", text="1 + 1 =", answer=2),
    line("metadata that is not text", "metadata", text="1 + 1 =", metadata={"level": 3}),
    line("text and input_ids both", "exactly one", "text", "input_ids", text="1 + 1 =", input_ids=[5, 6]),
    line("neither text nor messages nor input_ids", "exactly one", "none"),
    line("empty text", "empty prompt", text=""),
    line("token id out of range", "128", "position 1", "vocabulary of 128", input_ids=[5, 128]),
    line("negative token id", "-1", "vocabulary", input_ids=[-1]),
    line("prompt longer than the pool takes", str(LONG + 1), str(LONG), text="1" * (LONG + 1)),
    line("prompt longer than the context", "2049", "context", text="1" * 2049),
    line("chat without a template", "chat template", messages=[{"role": "user", "content": "1 + 1 ="}]),
    line("id with a slash", "slash", id="a/b", text="1 + 1 ="),
    line("empty id", "id", id="", text="1 + 1 ="),
    line("id that means another prompt", "another", id="first", text="9 + 9 ="),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_gets_a_clear_problem_and_loses_nothing(
    case: Case, service: Service, http: httpx.AsyncClient, model_folder: Path
) -> None:
    await add_pool(service.pools, model_folder, max_prompt_tokens=LONG)
    await add_pool(service.pools, model_folder, name="empty")
    good = await upload(http, {"id": "first", "text": "1 + 2 =", "answer": "3"}, {"text": "2 + 2 =", "answer": "4"})
    assert good.json()["added"] == 2

    body = case.body.replace(b"FOLDER", str(model_folder).encode())
    answer = await http.post(case.path, content=body, headers={"content-type": "application/json"})

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (case.status, case.status), problem
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert problem.get("field") == case.field
    assert problem["type"].startswith("urn:pilotcommit:")
    for words in case.words:
        assert words in problem["detail"]
    assert await service.pools.size("sums") == 2
    assert await service.pools.names() == ["empty", "sums"]
    assert await service.runs.ids() == []
