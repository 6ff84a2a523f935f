"""What the README tells people to type exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from scheduler.cli.app import create_cli

ROOT = Path(__file__).parent.parent
_FENCED = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(markdown: str) -> list[list[str]]:
    """The words of every command in the text's shell blocks, comments, prompts and continued lines resolved."""
    lines = "".join(_FENCED.findall(markdown)).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.removeprefix("$ "), comments=True))]


def readme_commands(program: str) -> list[list[str]]:
    """The README's commands of one program, without its name."""
    return [words[1:] for words in commands((ROOT / "README.md").read_text()) if words[0] == program]


def make_targets() -> set[str]:
    """Every target that the Makefile has a rule for."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def unknown_to_the_cli(words: list[str]) -> Iterator[str]:
    """What of a command line the command line does not know: commands and options; values are not looked at."""
    command = typer.main.get_command(create_cli())
    path = list(words)
    while isinstance(command, TyperGroup):
        name = path.pop(0) if path else ""
        found = command.commands.get(name)
        if found is None:
            yield name
            return
        command = found
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    yield from (word for word in path if word.startswith("--") and word.partition("=")[0] not in {*known, "--help"})


def test_commands_are_read_from_shell_blocks_only() -> None:
    text = "```bash\nmake demo   # ten minutes\n$ pilotcommit up \\\n  --model m\n\n```\n\n```\nmake nothing\n```\n"
    assert commands(text) == [["make", "demo"], ["pilotcommit", "up", "--model", "m"]]


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("run create --pool p --budget-rollouts 5", []),
        ("run create --pool p --rollouts=5", ["--rollouts=5"]),
        ("run begin", ["begin"]),
        ("begin", ["begin"]),
        ("run", [""]),
    ],
)
def test_a_command_line_is_checked_down_to_its_options(line: str, unknown: list[str]) -> None:
    assert list(unknown_to_the_cli(line.split())) == unknown


def test_the_readme_sets_up_with_two_make_targets_that_exist() -> None:
    targets = [words[0] for words in readme_commands("make")]
    assert {"demo", "test"} <= set(targets)
    assert set(targets) <= make_targets()


def test_every_command_in_the_readme_is_one_the_command_line_knows() -> None:
    written = readme_commands("pilotcommit")
    assert written
    assert {" ".join(words): bad for words in written if (bad := list(unknown_to_the_cli(words)))} == {}


def test_options_handed_to_make_are_options_of_the_demo() -> None:
    handed = [word for words in readme_commands("make") for word in words if word.startswith("ARGS=")]
    assert handed
    for arguments in handed:
        assert list(unknown_to_the_cli(["demo", *shlex.split(arguments.removeprefix("ARGS="))])) == []
