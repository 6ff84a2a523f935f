"""What a command has at hand: the scheduler, and a terminal to answer on.

Owns: where output goes, and its two forms. Invariants: with --json stdout carries the API's answers and nothing else;
what is said beside an answer goes to stderr.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from scheduler.cli.answers import AnswerT, read
from scheduler.client import Client
from scheduler.secret_files import with_secrets
from scheduler.tls import ClientTls

DEFAULT_URL = "http://127.0.0.1:8400"
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
TOKEN_VARIABLE = "PILOTCOMMIT_TOKEN"
"""Read from the environment only: a flag can be seen by everybody on the machine."""

Url = Annotated[str, typer.Option("--url", envvar="PILOTCOMMIT_URL", help="Where the scheduler answers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """One command's conversation."""

    client: Client
    console: Console
    as_json: bool

    def show(self, answer: object, kind: type[AnswerT], table: Callable[[AnswerT], RenderableType]) -> AnswerT:
        """Print the API's answer: as it is, or as a table of what was read of it."""
        if self.as_json:
            self.line(answer, indent=2)
            return read(answer, kind)
        shown = read(answer, kind)
        self.console.print(table(shown))
        return shown

    def line(self, answer: object, *, indent: int | None = None) -> None:
        """Print JSON, on one line unless indented."""
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=indent))


def connected(url: str, timeout_s: float = 30.0) -> Client:
    """A client with the token and the authorities that the environment names, to be used as a context."""
    environ = with_secrets(os.environ, [TOKEN_VARIABLE])
    tls = ClientTls.of_environment(environ, "PILOTCOMMIT_").context()
    return Client(url, token=environ.get(TOKEN_VARIABLE), timeout_s=timeout_s, tls=tls)


@contextmanager
def talk(url: str, as_json: bool, *, timeout_s: float = 30.0) -> Iterator[Terminal]:
    """A conversation with the scheduler at `url`."""
    with connected(url, timeout_s) as client:
        yield Terminal(client=client, console=Console(), as_json=as_json)


def say(message: str) -> None:
    """Tell a person on stderr what goes on."""
    Console(stderr=True).print(Text(message, style="dim"), soft_wrap=True)
