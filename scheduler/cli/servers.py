"""`pilotcommit server`: the fleet."""

from typing import Annotated

import typer

from scheduler.cli import answers, tables
from scheduler.cli.label_options import labels
from scheduler.cli.names import Server
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Terminal, Url, talk
from scheduler.client import Json

commands = typer.Typer(no_args_is_help=True, help="The fleet of SGLang servers.")


@commands.callback()
def _group() -> None:
    """The fleet of SGLang servers."""


@commands.command("list")
def list_servers(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List servers with their place in the fleet, state, confirmed weight version and load."""
    with talk(url, as_json) as terminal:
        terminal.show(terminal.client.servers(), list[answers.Server], tables.servers)


@commands.command("add")
def add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="As in http://10.0.0.7:30000.")],
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="By which runs choose it, as gpu=h100; repeatable."),
    ] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="It is SGLang's gateway: add every server behind it that is not here yet.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add a server; it gets attempts once it holds the weights that the run wants."""
    with talk(url, as_json) as terminal:
        if gateway:
            found = terminal.client.add_gateway(address, labels(label, "--label"))
            terminal.show(found, answers.Joined, tables.joined)
            return
        _show(terminal, terminal.client.add_server(address, labels(label, "--label")))


@commands.command("drain")
def drain(server: Server, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Let what a server has in flight end, and send it nothing new until it is resumed."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.drain_server(server))


@commands.command("resume")
def resume(server: Server, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Undo a drain, or a removal that has not ended."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.resume_server(server))


@commands.command("remove")
def remove(
    server: Server,
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for what it has in flight: that is lost, and made again.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Drain a server, then take it out of the fleet."""
    with talk(url, as_json) as terminal:
        _show(terminal, terminal.client.remove_server(server, now=now))


def _show(terminal: Terminal, server: Json) -> None:
    terminal.show(server, answers.Server, lambda found: tables.servers([found]))
