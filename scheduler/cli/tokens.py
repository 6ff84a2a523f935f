"""`pilotcommit token`: the file of API tokens, on the scheduler's machine."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scheduler.cli.terminal import AsJson, say
from scheduler.core.tokens import Scope
from scheduler.token_file import TokenFile

commands = typer.Typer(no_args_is_help=True, help="Tokens of the API, kept as hashes in a file.")

Name = Annotated[str, typer.Argument(help="Whose it is.")]
File = Annotated[
    Path, typer.Option("--file", envvar="PILOTCOMMIT_TOKENS_FILE", help="The file that the scheduler is started with.")
]
DEFAULT_FILE = Path(".pilotcommit/tokens.ndjson")


@commands.callback()
def _group() -> None:
    """Tokens of the API, kept as hashes in a file."""


@commands.command("create")
def create(
    name: Name,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; give it several times for several. Every token may read."),
    ] = None,
    file: File = DEFAULT_FILE,
) -> None:
    """Make a token, add its hash to the file and print it: it cannot be shown again."""
    token = TokenFile(file).create(name, scope or [Scope.READ])
    typer.echo(token)
    say(f"its hash is in {file}; start the scheduler with PILOTCOMMIT_TOKENS_FILE={file}, and send the token in")
    say("PILOTCOMMIT_TOKEN (command line) or PILOTCOMMIT_LEARNER_TOKEN (learner)")


@commands.command("list")
def list_tokens(file: File = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """List tokens by name, with their scopes."""
    records = TokenFile(file).records()
    if as_json:
        typer.echo(json.dumps([{"name": record.name, "scopes": sorted(record.scopes)} for record in records], indent=2))
        return
    table = Table("token", "scopes", box=None)
    for record in records:
        table.add_row(record.name, ", ".join(sorted(record.scopes)))
    Console().print(table)


@commands.command("revoke")
def revoke(name: Name, file: File = DEFAULT_FILE) -> None:
    """Remove a token; the scheduler refuses it from the next request on."""
    TokenFile(file).revoke(name)
    say(f"{name} is revoked")
