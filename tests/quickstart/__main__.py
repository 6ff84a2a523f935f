"""`python -m tests.quickstart`: the README's and the quick start's commands, in a fresh clone, with an empty home.

Owns: the course of it, and what it says meanwhile. Invariants: nothing of this machine's home, caches, environment or
working tree is seen by the commands but the way to the package index; what goes on is stopped as its reader would stop
it. It runs in a container as it does here.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer

from scheduler.ports import is_free
from tests.quickstart.documents import LeftOut, Run, Write, shortened, steps
from tests.quickstart.terminal import Terminal
from tests.quickstart.waiting import until

ROOT = Path(__file__).parents[2]
PORT = 8400
"""Where the documents' scheduler listens."""
LEFT_OUT = {
    "make test": "it is the other half of CI, and has its own run",
    "cp .env.example": "`make compose-test` runs the containers",
    "docker ": "`make compose-test` runs the containers",
}
OWN_SERVERS = {"pilotcommit ": "`make wheel-test` runs it, on servers that stand for gpu1 to gpu3"}
"""Of the README: its servers and its model are the reader's."""
DOCUMENTS = {"README.md": LEFT_OUT | OWN_SERVERS, "docs/quick-start.md": LEFT_OUT}
"""What is followed, with what is left out of it."""

Say = Callable[[str], None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    demo_rollouts: Annotated[
        int, typer.Option(min=0, help="What each demo may spend; 0 leaves the demos as they are written.")
    ] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder like ~/.cache/pilotcommit: the programs in it, SGLang above all, are not installed anew."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the clone and its home.")] = False,
) -> None:
    """Clone what is committed, and run what the README and the quick start say."""
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.0f} s  {line}\n")
        sys.stdout.flush()

    if not is_free(PORT):
        raise typer.BadParameter(f"port {PORT}, where the quick start's scheduler listens, is taken")
    folder = Path(mkdtemp(prefix="pilotcommit-quickstart-"))
    try:
        clone = _cloned(folder)
        say(f"cloned into {clone}, with nothing in its home")
        _follow(clone, _environment(_home(folder, cache)), demo_rollouts, say)
    except RuntimeError as error:
        say(f"not well: {error}")
        raise typer.Exit(1) from error
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    say("every command did what it should" + (f"; kept in {folder}" if keep else ""))


def _home(folder: Path, cache: Path | None) -> Path:
    """Empty; with a cache it has what was installed into that, and never its models."""
    home = folder / "home"
    ours = home / ".cache" / "pilotcommit"
    ours.mkdir(parents=True)
    for entry in cache.resolve().iterdir() if cache else ():
        if entry.is_dir() and entry.name != "models":
            (ours / entry.name).symlink_to(entry)
    return home


def _cloned(folder: Path) -> Path:
    clone = folder / "pilotcommit"
    subprocess.run(("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)), check=True)
    return clone


def _environment(home: Path) -> dict[str, str]:
    """What a new user's shell has, and how this machine reaches its package index."""
    ways = (
        "PIP_",
        "UV_",
        "SSL_CERT_",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    )
    kept = {name: value for name, value in os.environ.items() if name.startswith(ways)}
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(sys.prefix))
    return kept | {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"}


def _follow(clone: Path, environment: dict[str, str], demo_rollouts: int, say: Say) -> None:
    done: list[str] = []
    for name, left_out in DOCUMENTS.items():
        say(f"{name}:")
        with ExitStack() as going_on:
            terminal = Terminal(clone, environment)
            going_on.callback(terminal.close)
            for step in steps((clone / name).read_text(), left_out=left_out, done=done):
                match step:
                    case LeftOut():
                        say(f"NOT RUN: {step.line}  ({step.reason})")
                    case Write():
                        say(f"writing {step.name}")
                        (clone / step.name).write_text(step.text)
                    case Run(goes_on=True):
                        going_on.enter_context(_going_on(clone, environment, step, say))
                    case Run():
                        done += step.lines
                        for line in (shortened(step, rollouts=demo_rollouts) if demo_rollouts else step).lines:
                            say(f"$ {line}")
                            terminal.run((line,))


@contextmanager
def _going_on(clone: Path, environment: dict[str, str], step: Run, say: Say) -> Iterator[None]:
    """A terminal of its own for what ends with Ctrl-C, once the scheduler in it is ready."""
    log = clone.parent / "going-on.log"
    terminal = Terminal(clone, environment, log=log)
    for line in step.lines:
        say(f"$ {line}")
    terminal.type(step.lines)
    try:
        until(f"http://127.0.0.1:{PORT}/readyz", lambda: terminal.has_ended, log)
        yield
    finally:
        terminal.close(interrupt=True)
        say("Ctrl-C, and it has ended")


if __name__ == "__main__":
    app()
