"""The reference of the command line: `python -m scheduler.cli.reference`, for docs/cli.md.

Owns: what is told of a command. Never runs one.
"""

import sys
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from scheduler.cli.app import create_cli


def reference() -> str:
    """A table with every command: what it is called, what it takes, what it does."""
    rows = "\n".join(f"| `{usage}` | {told} |" for usage, told in _commands(typer.main.get_command(create_cli()), ()))
    return f"| command | does |\n|---|---|\n{rows}\n"


def _commands(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(command, TyperGroup):
        for name, child in sorted(command.commands.items()):
            yield from _commands(child, (*path, name))
    elif isinstance(command, TyperCommand):
        yield _usage(command, path), _first_sentence(command.help or "")


def _usage(command: TyperCommand, path: tuple[str, ...]) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    named = [(each.metavar or str(each.name).upper()).replace("|", "\\|") for each in arguments]
    shown = (name if each.required else f"[{name}]" for name, each in zip(named, arguments, strict=True))
    return " ".join(["pilotcommit", *path, *shown])


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.rstrip(".")


if __name__ == "__main__":
    sys.stdout.write(reference())
