"""What every benchmark's command does around its measuring.

Owns: options, progress on stderr, and where the report goes. Never measures. Invariant: with `--json` nothing but one
JSON object goes to stdout.
"""

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from matplotlib.figure import Figure as Picture

from benchmarks.figures import Figure, Report, path_of
from benchmarks.origin import RESULTS
from scheduler import event_loop, logs
from scheduler.drawing import DOTS_PER_INCH

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]
Quick = Annotated[bool, typer.Option("--quick", help="Small sizes, to see that it works: nothing is kept.")]

Say = Callable[[str], None]
Findings = tuple[list[Figure], dict[str, list[float]]]
"""Figures, and the samples behind them."""


def measured(
    name: str,
    measure: Callable[[Path, Say], Awaitable[Findings]],
    draw: Callable[[Report], Picture],
    *,
    as_json: bool,
    keep: bool,
    results: Path = RESULTS,
) -> Report:
    """Measure in a folder of its own, print the table, and keep the report and its picture unless `keep` is false."""
    logs.configure("ERROR")
    began = time.monotonic()

    def say(line: str) -> None:
        typer.echo(f"{time.monotonic() - began:7.1f} s  {line}", err=True)

    async def work() -> Findings:
        with tempfile.TemporaryDirectory(prefix=f"pilotcommit-{name}-") as folder:
            return await measure(Path(folder), say)

    figures, raw = event_loop.run(work())
    report = Report.of(name, figures, raw, seconds=time.monotonic() - began)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n" if as_json else report.markdown())
    if keep:
        path = report.write(results)
        picture = path_of(name, results).with_suffix(".png")
        draw(report).savefig(picture, dpi=DOTS_PER_INCH)
        say(f"kept in {path} and {picture.name}")
    return report
