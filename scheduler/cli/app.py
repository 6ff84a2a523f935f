"""The command line as a whole.

Owns: which commands there are, and how an error ends one: a line that says what to do, exit code 1; 2 for usage.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from scheduler.cli import (
    compare,
    doctor,
    evaluations,
    explain,
    export,
    learners,
    pools,
    processes,
    profile,
    prompts,
    runs,
    servers,
    simulate,
    tokens,
)
from scheduler.core.errors import InvalidInput, PilotCommitError


def create_cli() -> typer.Typer:
    """The command with all its subcommands."""
    cli = typer.Typer(
        name="pilotcommit",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="A rollout scheduler for group-based RL: pilots, commits, an enforced budget and a ledger.",
    )
    cli.callback()(_root)
    cli.add_typer(pools.commands, name="pool")
    pools.commands.command("profile")(profile.profile)
    cli.add_typer(runs.commands, name="run")
    runs.commands.command("profile")(profile.show)
    cli.add_typer(prompts.commands, name="prompt")
    cli.add_typer(evaluations.commands, name="evaluation")
    cli.add_typer(servers.commands, name="server")
    cli.add_typer(tokens.commands, name="token")
    cli.command("explain")(explain.explain)
    cli.command("export")(export.export)
    cli.command("compare")(compare.compare)
    cli.command("up")(processes.up)
    cli.command("learners")(learners.learners)
    cli.command("doctor")(doctor.doctor)
    cli.command("demo")(processes.demo)
    cli.command("simulate")(simulate.simulate)
    return cli


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("pilotcommit"))
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """A rollout scheduler for group-based RL: pilots, commits, an enforced budget and a ledger."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, of `argv` or the process's own arguments; the exit code."""
    try:
        create_cli()(args=argv, prog_name="pilotcommit")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except (PilotCommitError, ExceptionGroup) as error:
        ours = list(errors_in(error))
        if not ours:
            raise
        for reason in ours:
            _tell(reason)
        return 1
    return 0


def errors_in(error: Exception) -> Iterator[PilotCommitError]:
    """The errors raised on purpose: the error itself, or those that a task group bundled into it."""
    if isinstance(error, PilotCommitError):
        yield error
    elif isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from errors_in(inner)


def _tell(error: PilotCommitError) -> None:
    field = error.field if isinstance(error, InvalidInput) else None
    where = f"{field}: " if field and field not in str(error) else ""
    Console(stderr=True).print(
        Text("error: ", style="bold red").append(f"{where}{error}", style="default not bold"), soft_wrap=True
    )
