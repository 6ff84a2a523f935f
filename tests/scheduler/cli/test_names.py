"""What a shell completes names to."""

import asyncio
import os
import sys
from collections.abc import Mapping

import pytest

from tests.scheduler.cli.conftest import Command

_PILOTCOMMIT = (sys.executable, "-c", "import sys; from scheduler.cli import main; sys.exit(main())")


async def completed(words: str, environment: Mapping[str, str], shell: str = "bash") -> list[str]:
    """What a shell is told when somebody presses Tab behind `words`."""
    asked = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    process = await asyncio.create_subprocess_exec(
        *_PILOTCOMMIT,
        env={**os.environ, "_PILOTCOMMIT_COMPLETE": f"complete_{shell}", **asked, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert err == b""
    return sorted(name for line in out.decode().splitlines() if (name := line.strip().strip('"')))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_commands_are_completed_in_every_shell(shell: str) -> None:
    assert any("unsolved" in line for line in await completed("pilotcommit run uns", {}, shell))


async def test_names_are_those_that_the_scheduler_has(url: str, pilotcommit: Command, model_folder: object) -> None:
    for name in ("sums", "products"):
        said = await pilotcommit("pool", "create", name, "--tokenizer", str(model_folder), "--reward", "exact")
        assert said.code == 0, said.err
    here = {"PILOTCOMMIT_URL": url}
    assert await completed("pilotcommit pool show ", here) == ["products", "sums"]
    assert await completed("pilotcommit pool show s", here) == ["sums"]
    assert await completed("pilotcommit run show ", here) == []
    assert await completed("pilotcommit server drain ", here) == []


async def test_a_scheduler_that_is_away_completes_nothing_and_says_nothing() -> None:
    assert await completed("pilotcommit run show ", {"PILOTCOMMIT_URL": "http://127.0.0.1:1"}) == []
