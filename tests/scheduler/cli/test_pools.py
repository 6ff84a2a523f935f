"""`pilotcommit pool`."""

import asyncio
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.client import Client
from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.cli.files import Rows, make_gsm8k, make_verl, write_lines, write_parquet
from tests.scheduler.runs_in_redis import add_pool


async def test_a_pool_is_created_listed_and_shown(pilotcommit: Command, model_folder: Path) -> None:
    options = ("--tokenizer", str(model_folder), "--reward", "exact", "--max-prompt-tokens", "99")
    created = await pilotcommit("pool", "create", "sums", *options)
    assert created.code == 0
    assert "99 tokens" in created.out
    assert "sums" in (await pilotcommit("pool", "list")).out
    assert "99 tokens" in (await pilotcommit("pool", "show", "sums")).out


async def test_json_is_what_the_api_answered(pilotcommit: Command, service: Service, url: str) -> None:
    await add_pool(service.redis, "sums")
    said = await pilotcommit("pool", "show", "sums", "--json")
    with Client(url) as client:
        assert json.loads(said.out) == await asyncio.to_thread(client.pool, "sums")
    assert [pool["name"] for pool in json.loads((await pilotcommit("pool", "list", "--json")).out)] == ["sums"]


async def test_prompts_are_added_from_a_file(pilotcommit: Command, model_folder: Path, tmp_path: Path) -> None:
    await pilotcommit("pool", "create", "sums", "--tokenizer", str(model_folder), "--reward", "exact")
    file = tmp_path / "prompts.ndjson"
    file.write_text('{"text": "1+1=", "answer": "2"}\n{"text": "1+2=", "answer": "3"}\n')
    said = await pilotcommit("pool", "add", "sums", str(file))
    assert (said.code, said.out) == (0, "2 added, 0 unchanged, 0 refused\n")
    again = await pilotcommit("pool", "add", "sums", str(file), "--json")
    assert json.loads(again.out) == {"added": 0, "unchanged": 2, "refused": []}


async def test_a_refused_line_is_named_and_ends_with_1_while_the_others_are_stored(
    pilotcommit: Command, service: Service, model_folder: Path, tmp_path: Path
) -> None:
    await pilotcommit("pool", "create", "sums", "--tokenizer", str(model_folder), "--reward", "exact")
    file = tmp_path / "prompts.ndjson"
    file.write_text('{"text": "1+1="}\n{"id": "bad", "text": "1", "input_ids": [5]}\n')
    said = await pilotcommit("pool", "add", "sums", str(file))
    assert said.code == 1
    assert "1 added, 0 unchanged, 1 refused" in said.out
    assert "bad" in said.out
    assert await service.pools.size("sums") == 1


async def test_a_file_that_cannot_be_read_is_a_usage_error(pilotcommit: Command, tmp_path: Path) -> None:
    said = await pilotcommit("pool", "add", "sums", str(tmp_path / "missing"))
    assert said.code == 2
    assert "cannot be read" in said.err


GSM8K = ("--template", r"Question: {question}\nAnswer:", "--answer", "answer", "--answer-after", "####")
VERL = ("--messages", "prompt", "--answer", "reward_model.ground_truth", "--metadata", "data_source")


async def make_pool(pilotcommit: Command, folder: Path, reward: str = "exact") -> None:
    await pilotcommit("pool", "create", "sums", "--tokenizer", str(folder), "--reward", reward)


async def test_a_dataset_becomes_prompts_by_a_template_and_a_mark(
    pilotcommit: Command, service: Service, model_folder: Path, tmp_path: Path
) -> None:
    await make_pool(pilotcommit, model_folder, "numeric")
    write_parquet(tmp_path / "gsm8k" / "train-0.parquet", make_gsm8k(range(700)))
    said = await pilotcommit("pool", "add", "sums", f"hf:{tmp_path / 'gsm8k'}", *GSM8K)
    assert (said.code, said.out, said.err) == (0, "700 added, 0 unchanged, 0 refused\n", "")
    [[(first, _), *_]] = [page async for page in service.pools.ids_after("sums", 0)][:1]
    [prompt] = await service.pools.prompts("sums", [first])
    assert (prompt.text, prompt.answer) == ("Question: 0+1?\nAnswer:", "1")
    again = await pilotcommit("pool", "add", "sums", f"hf:{tmp_path / 'gsm8k'}", *GSM8K, "--limit", "9", "--json")
    assert json.loads(again.out) == {"added": 0, "unchanged": 9, "refused": []}


async def test_parquet_of_verl_becomes_prompts_by_nested_columns(
    pilotcommit: Command, service: Service, chat_folder: Path, tmp_path: Path
) -> None:
    await make_pool(pilotcommit, chat_folder)
    path = write_parquet(tmp_path / "verl.parquet", make_verl(range(3)))
    said = await pilotcommit("pool", "add", "sums", str(path), *VERL, "--id", "extra_info.index")
    assert (said.code, said.out) == (0, "3 added, 0 unchanged, 0 refused\n")
    [prompt] = await service.pools.prompts("sums", ["2"])
    assert (prompt.answer, prompt.metadata) == ("3", {"data_source": "sums"})


async def test_a_preview_is_what_the_model_will_see_and_stores_nothing(
    pilotcommit: Command, service: Service, chat_folder: Path, tmp_path: Path
) -> None:
    await make_pool(pilotcommit, chat_folder)
    path = write_parquet(tmp_path / "verl.parquet", make_verl(range(3)))
    said = await pilotcommit("pool", "add", "sums", str(path), *VERL, "--preview", "2")
    assert (said.code, said.err) == (0, "")
    for part in ("<bos>user: 0+1=\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "assistant:", "2 prompts"):
        assert part in said.out
    found = await pilotcommit("pool", "add", "sums", str(path), *VERL, "--preview", "1", "--json")
    [prompt] = json.loads(found.out)["prompts"]
    text = "<bos>user: 0+1=\nassistant:"
    assert (prompt["text"], prompt["num_tokens"], prompt["answer"]) == (text, len(text) - 4, "1")
    assert await service.pools.size("sums") == 0


async def test_a_preview_ends_with_1_where_something_would_be_refused_here_or_there(
    pilotcommit: Command, model_folder: Path, tmp_path: Path
) -> None:
    await make_pool(pilotcommit, model_folder, "numeric")
    rows: Rows = [{"q": "1", "a": "1"}, {"q": "2", "a": None}, {"q": "3", "a": "three"}, {"q": "4", "a": "4"}]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    said = await pilotcommit(
        "pool", "add", "sums", str(path), "--text", "q", "--answer", "a", "--preview", "3", "--json"
    )
    report = json.loads(said.out)
    assert (said.code, [prompt["line"] for prompt in report["prompts"]]) == (1, [1])
    assert [refused["line"] for refused in report["refused"]] == [2, 3]
    assert "column 'a' has no value" in report["refused"][0]["reason"]
    assert "needs a number" in report["refused"][1]["reason"]


async def test_rows_that_make_no_prompt_are_listed_with_the_lines_that_were_refused_and_the_others_are_stored(
    pilotcommit: Command, service: Service, model_folder: Path, tmp_path: Path
) -> None:
    await make_pool(pilotcommit, model_folder, "numeric")
    path = tmp_path / "rows.csv"
    path.write_text("q,a\n1,1\n2,\n3,three\n4,4,4\n5,5\n")
    options = (str(path), "--text", "q", "--answer", "a")
    said = await pilotcommit("pool", "add", "sums", *options)
    assert said.code == 1
    for part in ("2 added, 0 unchanged, 3 refused", "column 'a' has no value", "needs a number", "3 cells under 2"):
        assert part in said.out
    assert await service.pools.size("sums") == 2
    again = json.loads((await pilotcommit("pool", "add", "sums", *options, "--json")).out)
    assert ([refused["line"] for refused in again["refused"]], again["unchanged"]) == ([2, 3, 4], 2)


async def test_prompts_come_from_stdin(
    pilotcommit: Command, service: Service, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_pool(pilotcommit, model_folder)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "1"}\n{"text": "2"}\n')))
    assert (await pilotcommit("pool", "add", "sums", "-")).code == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"q": "3"}\n')))
    assert (await pilotcommit("pool", "add", "sums", "-", "--text", "q")).code == 0
    assert await service.pools.size("sums") == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "has the columns question, answer"),
        (("--text", "qestion"), "no column 'qestion': there are question, answer"),
        (("--text", "question", "--user", "question"), "exactly one"),
        (("--template", "{}"), "a column's name"),
        (("--text", "question", "--preview", "101"), "100"),
        (("--text", "question", "--split", "test"), "a file has no splits"),
    ],
)
async def test_columns_that_make_no_sense_are_a_usage_error(
    pilotcommit: Command, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    path = write_parquet(tmp_path / "sums.parquet", make_gsm8k([1]))
    told = await pilotcommit("pool", "add", "sums", str(path), *options)
    assert (told.code, told.out) == (2, "")
    # The box around it breaks lines.
    assert said in " ".join(told.err.replace("│", " ").split())


async def test_a_source_that_breaks_off_says_so_and_ends_with_1(
    pilotcommit: Command, model_folder: Path, tmp_path: Path
) -> None:
    await make_pool(pilotcommit, model_folder)
    path = tmp_path / "sums.csv"
    path.write_bytes(b'q\n1\n"2\n')
    said = await pilotcommit("pool", "add", "sums", str(path), "--text", "q")
    assert (said.code, said.out) == (1, "")
    assert "sums.csv breaks off after row 1: " in said.err
    assert said.err.count("\n") == 1


PROGRAM = "import sys; from scheduler.cli import main; sys.exit(main(sys.argv[1:]))"


async def test_the_process_ends_well_after_a_dataset(
    pilotcommit: Command, url: str, model_folder: Path, tmp_path: Path
) -> None:
    """Threads of pyarrow that outlive the reading have ended interpreters with a crash."""
    await make_pool(pilotcommit, model_folder)
    write_parquet(tmp_path / "gsm8k" / "train-0.parquet", make_gsm8k(range(2000)))
    options = ("pool", "add", "sums", f"hf:{tmp_path / 'gsm8k'}", *GSM8K, "--preview", "3", "--url", url)
    command = (sys.executable, "-c", PROGRAM, *options)
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 prompts" in done.stdout


def test_a_hub_that_cannot_be_reached_is_no_mistake_in_the_command() -> None:
    command = (sys.executable, "-c", PROGRAM, "pool", "add", "sums", "hf:openai/gsm8k:main", "--text", "question")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: hf:openai/gsm8k:main cannot be read now: ")
    assert done.stderr.count("\n") == 1
