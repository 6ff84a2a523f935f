"""`python -m benchmarks.engine`: what the scheduler adds, against servers of set latency and capacity."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.engine.measure import measure
from benchmarks.engine.picture import draw
from benchmarks.session import AsJson, Findings, Quick, Say, measured


def main(
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each measurement.")] = 20.0,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """The full engine with Redis and rewards, beside bare loops over the same server."""

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(folder, say, seconds=3.0 if quick else seconds)

    measured("engine", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
