"""docs/data.md: its commands do what it says, on files of the shape that it describes."""

import json
from pathlib import Path

import pytest

from tests.scheduler.cli.conftest import Command
from tests.scheduler.cli.files import make_gsm8k, make_verl, write_lines, write_parquet
from tests.test_readme import commands

DOCUMENT = Path(__file__).parents[3] / "docs" / "data.md"
ADDED = [words[1:] for words in commands(DOCUMENT.read_text()) if words[1:3] == ["pool", "add"]]
TASKS = [words for words in ADDED if words[3].startswith("reasoning-gym:")]
EXAMPLES = [words for words in ADDED if words not in TASKS]
CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: train*}
  - {split: test, path: test*}
---
"""


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """The document's sources, as they are here."""
    hub = tmp_path / "gsm8k"
    for split in ("train", "test"):
        write_parquet(hub / f"{split}.parquet", make_gsm8k(range(4)))
    (hub / "README.md").write_text(CARD)
    chats = [{"messages": [{"role": "user", "content": f"{n}+1="}], "answer": str(n + 1)} for n in range(4)]
    return {
        "hf:openai/gsm8k:main": f"hf:{hub}:main",
        "train.parquet": str(write_parquet(tmp_path / "train.parquet", make_verl(range(4)))),
        "chats.jsonl": str(write_lines(tmp_path / "chats.jsonl", chats)),
    }


def test_there_are_examples_of_each_kind() -> None:
    assert {words[3] for words in EXAMPLES} == {"hf:openai/gsm8k:main", "train.parquet", "chats.jsonl"}


async def test_the_example_of_a_task_makes_prompts_that_its_reward_takes(
    pilotcommit: Command, chat_folder: Path
) -> None:
    [words] = TASKS
    await pilotcommit("pool", "create", words[2], "--tokenizer", str(chat_folder), "--reward", "reasoning_gym")
    said = await pilotcommit(*words, "--json")
    report = json.loads(said.out)
    assert (said.code, report["refused"], len(report["prompts"])) == (0, [], 3)
    assert all(prompt["answer"] and set(prompt["metadata"]) == {"reasoning_gym"} for prompt in report["prompts"])
    assert all("between <unk>answer<unk>" in prompt["text"] for prompt in report["prompts"])


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
async def test_an_example_makes_prompts_with_their_answers(
    pilotcommit: Command, chat_folder: Path, sources: dict[str, str], words: list[str]
) -> None:
    pool, source, *options = words[2:]
    await pilotcommit("pool", "create", pool, "--tokenizer", str(chat_folder), "--reward", "numeric")
    said = await pilotcommit("pool", "add", pool, sources[source], *options, "--preview", "4", "--json")
    report = json.loads(said.out)
    assert (said.code, report["refused"]) == (0, [])
    assert [prompt["answer"] for prompt in report["prompts"]] == ["1", "2", "3", "4"]
    assert all(f"{number}+1" in prompt["text"] for number, prompt in enumerate(report["prompts"]))
