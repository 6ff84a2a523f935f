"""`python -m tests.distribution`: the wheel, installed and used: with its minimal dependencies, and with each extra.

Owns: the order, and what was passed before. Invariant: what has passed for this wheel is not done again, unless asked
for; a check that fails ends with what the installation said.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from scheduler import embedded_redis
from tests.distribution import checks
from tests.distribution.built import ROOT, Built, build
from tests.distribution.installation import Installation, installed
from tests.distribution.promises import PROMISES
from tests.tiny_model import write_tiny_model

BASE = "base"
_PASSED = "passed"
_DEMO_NEEDS = "demo"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    only: Annotated[list[str] | None, typer.Option(help="base, or an extra; repeatable. By default all.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what has passed for this wheel.")] = False,
    folder: Annotated[Path, typer.Option(help="Where installations are kept.")] = ROOT / ".wheel-test",
) -> None:
    """Build the wheel, install it for each extra, and use it."""
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:6.0f} s  {line}\n")
        sys.stdout.flush()

    wanted = only or [BASE, *PROMISES]
    if unknown := set(wanted) - {BASE, *PROMISES}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: known are {BASE}, {', '.join(PROMISES)}")
    try:
        with TemporaryDirectory() as out:
            built = build(ROOT, Path(out))
            for name in wanted:
                _checked(built, folder.resolve() / name, name, again, say)
    except (RuntimeError, AssertionError) as error:
        say(f"not well: {error}")
        raise typer.Exit(1) from error


def _checked(built: Built, folder: Path, name: str, again: bool, say: Callable[[str], None]) -> None:
    passed = folder / _PASSED
    if not again and passed.is_file() and passed.read_text() == built.digest:
        say(f"{name}: has passed for this wheel")
        return
    say(f"{name}: installing")
    installation = installed(built, folder, "" if name == BASE else name)
    if name == BASE:
        _base(installation, say)
    else:
        checks.extra(installation, name, say)
        if name == _DEMO_NEEDS:
            checks.own_servers(installation, _model(folder), say)
    passed.write_text(built.digest)


def _base(installation: Installation, say: Callable[[str], None]) -> None:
    model = _model(installation.folder)
    with asyncio.Runner() as runner:
        server = embedded_redis.running(installation.folder / "redis")
        redis_url = runner.run(server.__aenter__())
        try:
            checks.base(installation, say, redis_url=redis_url, model=model)
        finally:
            runner.run(server.__aexit__(None, None, None))
    # Last: it brings packages of its own into the installation.
    checks.typed(installation, say)


def _model(folder: Path) -> Path:
    return write_tiny_model(folder / "model")


if __name__ == "__main__":
    app()
