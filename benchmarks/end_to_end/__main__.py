"""`python -m benchmarks.end_to_end`: wall-clock to the target accuracy, ours against TRL's GRPO on the same machine."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.end_to_end.measure import Comparison
from benchmarks.end_to_end.picture import draw
from benchmarks.end_to_end.plan import COMPARISON, runs
from benchmarks.end_to_end.plan import quick as quickly
from benchmarks.origin import RESULTS
from benchmarks.session import AsJson, Findings, Quick, Say, measured
from benchmarks.target import settings

Seeds = Annotated[int, typer.Option(help="Seeds of each side.", min=1, max=4)]
Minutes = Annotated[float | None, typer.Option(help="Start no new run after this many minutes.")]
TrlMinutes = Annotated[float, typer.Option(min=1.0, help="Cut each of TRL's runs after so much training; kept so.")]
_QUICK_STEPS = 2


def main(
    quick: Quick = False,
    as_json: AsJson = False,
    seeds: Seeds = 1,
    minutes: Minutes = None,
    trl_minutes: TrlMinutes = 180.0,
) -> None:
    """Make the runs that have no record yet, and say what all of them say: hours, most of them TRL's."""
    planned = runs(settings.load(), seeds)

    async def work(folder: Path, say: Say) -> Findings:
        comparison = Comparison(
            planned=quickly(planned, _QUICK_STEPS) if quick else planned,
            results=folder / "results" if quick else RESULTS,
            folder=folder,
            minutes=minutes,
            trl_minutes=trl_minutes,
            say=say,
        )
        return await comparison.measure()

    measured(COMPARISON, work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
