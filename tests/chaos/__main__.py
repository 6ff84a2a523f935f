"""`python -m tests.chaos`: break everything for a while, and look whether anything was lost.

Owns: options, what is shown, and the exit code: 0 if every invariant holds, 1 if one is broken.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from scheduler import logs
from tests.chaos import record
from tests.chaos.campaign import ChaosOptions, campaign
from tests.chaos.record import Result
from tests.tiny_model import write_tiny_model

_PER_MINUTE = {"fake": 1.5, "real": 0.4}
"""Faults of each kind in a minute; a real server takes half a minute to come back."""


def main(
    seed: Annotated[int, typer.Option(help="Of the faults and of the runs.")] = 0,
    minutes: Annotated[float, typer.Option(min=0.1, help="For how long things go wrong.")] = 15.0,
    servers: Annotated[
        str, typer.Option(help="fake or real: scripted servers, or SGLang and a real learner.")
    ] = "fake",
    per_kind: Annotated[int | None, typer.Option(min=1, help="Faults of each kind; by default by the minutes.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the logs and books of a run without a violation.")] = False,
    out: Annotated[Path, typer.Option(help="Where the result is written, as JSON lines.")] = record.RESULTS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Kill, freeze and garble every process of the service, and check what it says it did."""
    if servers not in _PER_MINUTE:
        raise typer.BadParameter(f"{servers!r} is neither fake nor real", param_hint="--servers")
    logs.configure("ERROR")
    folder, began = Path(tempfile.mkdtemp(prefix="pilotcommit-chaos-")), time.monotonic()

    def say(line: str) -> None:
        typer.echo(f"{time.monotonic() - began:7.1f} s  {line}", err=True)

    say(f"seed {seed}, {minutes:g} minutes, {servers} servers; logs and books in {folder}")
    options = ChaosOptions(
        seed=seed,
        duration_s=60.0 * minutes,
        per_kind=per_kind or max(1, round(_PER_MINUTE[servers] * minutes)),
        is_real=servers == "real",
        folder=folder,
        model=write_tiny_model(folder / "model", seed=3),
    )
    result = Result.of(options, asyncio.run(campaign(options, say=say)))
    path = record.write(result, out)
    typer.echo(result.as_json() if as_json else result.as_text(path))
    if result.violations or keep:
        say(f"logs and books are in {folder}")
    else:
        shutil.rmtree(folder)
    sys.exit(1 if result.violations else 0)


if __name__ == "__main__":
    typer.run(main)
