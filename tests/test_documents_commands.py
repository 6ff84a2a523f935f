"""Every command in any document is one that can be given: it parses, its target, module or service is there."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.test_guides import parse
from tests.test_readme import make_targets, unknown_to_the_cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
_FENCED = re.compile(r"^```(?:bash|sh|console|)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:pilotcommit|python -m) [^`]+|make [a-z-]+(?: [A-Z_]+=[^`]+)?)`")
_PROGRAMS = ("pilotcommit", "make", "python", "docker")
_GAPS = ("…", "[", "|", "NAME")
"""What stands for something in a command that is told of and not to be typed."""
_OF_THE_WHOLE = ("--version", "--help", "--install-completion")


def typed(text: str) -> Iterator[str]:
    """Commands of the blocks of a document, without prompts, comments and variables before them."""
    for line in "".join(_FENCED.findall(text)).replace("\\\n", " ").splitlines():
        command = re.sub(r"^(\$ )?(\w+=\S+ )*", "", re.sub(r"\s+# .*$", "", line))
        if command.startswith(tuple(f"{program} " for program in _PROGRAMS)):
            yield from command.split(" && ")


def told(text: str) -> Iterator[str]:
    """Commands within sentences that have no gap in them."""
    yield from (command for command in _INLINE.findall(text) if not any(gap in command for gap in _GAPS))


def commands() -> Iterator[tuple[str, str, bool]]:
    """Every command with its document, and whether it is to be typed as it stands."""
    for document in DOCUMENTS:
        name = str(document.relative_to(ROOT))
        yield from ((name, command, True) for command in typed(document.read_text()))
        yield from ((name, command, False) for command in told(document.read_text()))


@pytest.mark.parametrize(("document", "command", "whole"), sorted(set(commands())))
def test_a_command_can_be_given(document: str, command: str, whole: bool) -> None:
    match shlex.split(command):
        case ["pilotcommit", *words]:
            check_ours(words, whole)
        case ["make", *words]:
            assert {word for word in words if "=" not in word} <= make_targets()
        case ["python", "-m", module, *_] if not module.startswith("sglang."):
            assert importlib.util.find_spec(module) is not None
        case ["docker", "compose", *words]:
            check_compose(words)


def check_ours(words: list[str], whole: bool) -> None:
    """A command to be typed has all that it needs; one that is told of may leave out what it is about."""
    if words[0].startswith("--"):
        assert words[0] in _OF_THE_WHOLE
        return
    assert list(unknown_to_the_cli(words)) == []
    if whole:
        parse(words)


def check_compose(words: list[str]) -> None:
    """Services are there, and what is handed to the command line in one is a command of it."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    if words[:1] == ["run"] and "--entrypoint" not in words:
        named = next(number for number, word in enumerate(words[1:], start=1) if not word.startswith("-"))
        assert words[named] in services
        if words[named] == "cli":
            check_ours(words[named + 1 :], whole=True)
    elif words[:1] in (["up"], ["logs"]):
        assert {word for word in words[1:] if not word.startswith("-")} <= services.keys()


def test_there_are_commands_of_each_kind() -> None:
    first = {command.split()[0] for _, command, _ in commands()}
    assert first == set(_PROGRAMS)
