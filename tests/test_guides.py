"""The guides in docs/ can be followed: their commands parse, their runs are runs, their prompts are prompts."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import msgspec
import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from scheduler.api.run_requests import NewRun
from scheduler.cli.app import create_cli
from scheduler.core.run import RunMode
from scheduler.prompts import PromptLine
from tests.test_readme import commands, make_targets, unknown_to_the_cli

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = ("quick-start", "tutorial", "own-servers", "concepts", "troubleshooting", "profile", "export")


def guide(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def told_to_run(name: str, program: str) -> list[list[str]]:
    """A guide's commands of one program, without its name."""
    return [words[1:] for words in commands(guide(name)) if words[0] == program]


def parse(words: list[str]) -> None:
    """Parse a command line as the command line itself does, without running it; raises TyperException."""
    command = typer.main.get_command(create_cli())
    rest = list(words)
    while isinstance(command, TyperGroup):
        command = command.commands[rest.pop(0)]
    assert isinstance(command, TyperCommand)
    command.make_context(command.name, rest)


def run_of(name: str) -> NewRun:
    """The run in a guide."""
    [example] = re.findall(r"```toml\n# run.toml\n(.*?)```", guide(name), re.DOTALL)
    return NewRun(**tomllib.loads(example))


COMMANDS = [words for name in GUIDES for words in told_to_run(name, "pilotcommit")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_one_that_the_command_line_takes(words: list[str]) -> None:
    assert list(unknown_to_the_cli(words)) == []
    parse(words)


@pytest.mark.parametrize("line", ["run create --pool", "compare", "run show r --count 2", "pool add p s --limit few"])
def test_a_command_that_would_be_refused_is_found_out(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line.split())


def test_what_is_made_has_a_rule() -> None:
    made = [words for name in GUIDES for words in told_to_run(name, "make")]
    assert made
    assert {words[0] for words in made} <= make_targets()


@pytest.mark.parametrize("name", ["quick-start", "tutorial"])
def test_a_guides_run_is_a_run_over_the_pools_that_it_creates(name: str) -> None:
    run = run_of(name)
    config = run.config()
    assert config.evaluation is not None
    pools = {words[2] for words in told_to_run(name, "pilotcommit") if words[:2] == ["pool", "create"]}
    assert {config.pool, config.evaluation.pool} == pools
    assert config.budget.rollouts is not None
    shown = [words for words in told_to_run(name, "pilotcommit") if words[0] == "explain"]
    assert shown
    assert all(words[1] == run.run_id for words in shown)


def test_the_run_in_the_document_of_the_command_line_is_a_run() -> None:
    config = run_of("cli").config()
    assert (config.pool, config.group_size, config.budget.rollouts) == ("arithmetic", 32, 20_000)


def test_the_file_of_a_mix_is_a_run_over_pools_with_weights() -> None:
    [example] = re.findall(r"```toml\n# mixed.toml\n(.*?)```", guide("data"), re.DOTALL)
    mixture = NewRun(**tomllib.loads(example)).config().mixture
    assert (mixture.names, mixture.part("gsm8k")) == (("gsm8k", "code"), 0.75)


def test_the_file_of_a_profile_is_a_run_that_commits_nothing() -> None:
    [example] = re.findall(r"```toml\n# profile.toml\n(.*?)```", guide("profile"), re.DOTALL)
    config = NewRun(**tomllib.loads(example)).config()
    assert (config.mode, config.largest_claim.rollouts) == (RunMode.PROFILE, 4)


def test_the_prompts_of_the_quick_start_are_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [script] = re.findall(r"```python\n# sums.py\n(.*?)```", guide("quick-start"), re.DOTALL)
    (tmp_path / "sums.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("sums.py")
    ids = dict[str, set[str | None]]()
    for added in told_to_run("quick-start", "pilotcommit"):
        if added[:2] == ["pool", "add"]:
            lines = [msgspec.json.decode(line, type=PromptLine) for line in Path(added[3]).read_text().splitlines()]
            assert all(line.text and line.answer for line in lines)
            ids[added[2]] = {line.id for line in lines}
    assert ids["sums"].isdisjoint(ids["sums-held-out"])
    [asked] = [words[2] for words in told_to_run("quick-start", "pilotcommit") if words[0] == "explain" and words[2:]]
    assert asked in ids["sums"]


def test_the_rows_of_the_tutorial_have_the_columns_that_are_named() -> None:
    [row] = re.findall(r"```json\n(.*?)```", guide("tutorial"), re.DOTALL)
    added = next(words for words in told_to_run("tutorial", "pilotcommit") if words[:2] == ["pool", "add"])
    named = {added[added.index(option) + 1] for option in ("--user", "--answer")}
    assert named == set(json.loads(row))
    assert added[added.index("--answer-after") + 1] in json.loads(row)["solution"]
