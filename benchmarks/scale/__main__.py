"""`python -m benchmarks.scale`: hundreds of servers and thousands of rollouts in flight, under a virtual clock."""

from pathlib import Path

import typer

from benchmarks.scale.measure import SIZES, measure
from benchmarks.scale.picture import draw
from benchmarks.session import AsJson, Findings, Quick, Say, measured


def main(quick: Quick = False, as_json: AsJson = False) -> None:
    """The real engine on a real Redis; servers and learner only let virtual time pass."""

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(folder, say, sizes=(4, 16) if quick else SIZES, steps=2)

    measured("scale", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
