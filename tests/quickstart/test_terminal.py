"""A terminal keeps what it was told, fails with what a command said, and leaves nothing behind."""

import io
from pathlib import Path

import pytest

from tests.quickstart.terminal import Terminal

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def test_variables_live_from_one_block_to_the_next(tmp_path: Path) -> None:
    said = io.StringIO()
    terminal = Terminal(tmp_path, ENVIRONMENT, out=said)
    terminal.run(("GREETING=hello",))
    terminal.run(('echo "$GREETING from $(pwd)"',))
    assert terminal.close() == 0
    assert said.getvalue().strip() == f"hello from {tmp_path}"


def test_a_command_reads_nothing_of_what_comes_after_it(tmp_path: Path) -> None:
    said = io.StringIO()
    terminal = Terminal(tmp_path, ENVIRONMENT, out=said)
    terminal.run(("cat", "echo after"))
    terminal.close()
    assert said.getvalue().strip() == "after"


def test_a_command_that_fails_ends_the_block_with_what_it_said(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, ENVIRONMENT, out=io.StringIO())
    with pytest.raises(RuntimeError, match=r"code 3:\n.*a reason") as failure:
        terminal.run(("sh -c 'echo a reason; exit 3'", "echo never"))
    assert "never" not in str(failure.value)
    assert terminal.has_ended
    terminal.close()


def test_what_goes_on_ends_with_an_interrupt(tmp_path: Path) -> None:
    log = tmp_path / "log"
    terminal = Terminal(tmp_path, ENVIRONMENT, log=log)
    terminal.type(("echo begun; mkfifo never; trap 'echo interrupted; exit 0' INT; read -r line <> never",))
    while "begun" not in log.read_text():
        assert not terminal.has_ended
    terminal.close(interrupt=True)
    assert terminal.has_ended
