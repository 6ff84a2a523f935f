"""The command line as a whole: exit codes, errors, and what it imports."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from scheduler.cli import main
from scheduler.cli.app import errors_in
from scheduler.core.errors import InvalidInput, ServerUnavailable
from tests.scheduler.cli.conftest import Command

NOBODY = "http://127.0.0.1:9"


async def test_an_error_is_one_line_on_stderr_that_says_what_to_do(pilotcommit: Command) -> None:
    said = await pilotcommit("run", "list", "--json", "--url", NOBODY)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"error: no scheduler answers at {NOBODY}")
    assert said.err.count("\n") == 1
    assert "--url" in said.err


async def test_an_error_names_the_field_at_fault(pilotcommit: Command) -> None:
    said = await pilotcommit("run", "create", "--pool", "sums", "--max-new-tokens", "8", "--batch-size", "0")
    assert said.err == "error: batch_size: 0 is below 1\n"


def test_errors_that_a_task_group_bundled_are_told_one_by_one() -> None:
    first, second = InvalidInput("the port is taken"), ServerUnavailable("no server")
    bundled = ExceptionGroup("of the stack", [first, ExceptionGroup("of a server", [second, OSError("not ours")])])
    assert list(errors_in(bundled)) == [first, second]
    assert list(errors_in(first)) == [first]
    assert list(errors_in(OSError("not ours"))) == []


@pytest.mark.parametrize("arguments", [["run", "frob"], ["run", "show"], ["run", "create", "--pilots", "many"]])
def test_wrong_usage_ends_with_2_and_names_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "Usage: pilotcommit run" in capsys.readouterr().err


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{version('pilotcommit')}\n"


@pytest.mark.parametrize("group", [[], ["pool"], ["run"], ["prompt"], ["evaluation"], ["server"]])
def test_every_command_has_its_help(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*group, "--help"]) == 0
    assert "--help" in capsys.readouterr().out


def test_the_command_starts_without_what_only_the_service_needs() -> None:
    program = "import sys, scheduler.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "scheduler" in loaded
    assert not {
        "torch",
        "transformers",
        "redis",
        "fastapi",
        "uvicorn",
        "numpy",
        "matplotlib",
        "pyarrow",
        "datasets",
    } & set(loaded)
