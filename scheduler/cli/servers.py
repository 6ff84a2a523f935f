"""`pilotcommit server`: the fleet."""

import typer

from scheduler.cli import answers, tables
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, talk

commands = typer.Typer(no_args_is_help=True, help="The fleet of SGLang servers.")


@commands.callback()
def _group() -> None:
    """The fleet of SGLang servers."""


@commands.command("list")
def list_servers(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List servers with their state, confirmed weight version and load."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.servers(), list[answers.Server], tables.servers)
