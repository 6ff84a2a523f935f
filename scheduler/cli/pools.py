"""`pilotcommit pool`: prompts to train and to evaluate on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import wrap_file

from scheduler.cli import answers, tables
from scheduler.cli.names import PoolName
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, talk

_UPLOAD_TIMEOUT_S = 3600.0
"""The answer to an upload comes once its last line is stored."""

commands = typer.Typer(no_args_is_help=True, help="Prompts to train and to evaluate on.")


@commands.command("create")
def create(
    name: PoolName,
    tokenizer: Annotated[str, typer.Option(help="Folder of the model, as the scheduler sees it.")],
    reward: Annotated[str, typer.Option(help="exact, numeric, regex, regex:PATTERN or python:module:function.")],
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Longest prompt it takes; by default what the model's context allows.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Create a pool. Creating the same one again changes nothing."""
    with talk(url, as_json) as terminal:
        pool = terminal.client.create_pool(
            name, tokenizer=tokenizer, reward=reward, max_prompt_tokens=max_prompt_tokens
        )
        terminal.show(pool, answers.Pool, tables.pool)


@commands.command("list")
def list_pools(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List pools with their sizes."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.pools(), list[answers.Pool], tables.pools)


@commands.command("show")
def show(name: PoolName, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one pool."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.pool(name), answers.Pool, tables.pool)


@commands.command("add")
def add(
    name: PoolName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="NDJSON, a prompt a line; - reads stdin.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add prompts. Refused lines are listed and lose nothing: the others are stored, and the exit code is 1."""
    with talk(url, as_json, timeout_s=_UPLOAD_TIMEOUT_S) as terminal, _opened(file) as lines:
        report = terminal.show(terminal.client.add_prompts(name, lines), answers.Added, tables.added)
    if report.refused:
        raise typer.Exit(1)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = file.open("rb")
    except OSError as exc:
        raise typer.BadParameter(f"{file} cannot be read: {exc.strerror}", param_hint="FILE") from exc
    # Nothing is drawn where nobody looks: stderr is no terminal then.
    console = Console(stderr=True)
    with (
        lines,
        wrap_file(
            lines,
            file.stat().st_size,
            description="adding prompts",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as told,
    ):
        yield told
