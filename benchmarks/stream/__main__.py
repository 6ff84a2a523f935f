"""`python -m benchmarks.stream`: groups from Redis to the learner, against raw loopback HTTP."""

from pathlib import Path

import typer

from benchmarks.session import AsJson, Findings, Quick, Say, measured
from benchmarks.stream.measure import measure
from benchmarks.stream.picture import draw


def main(quick: Quick = False, as_json: AsJson = False) -> None:
    """Large groups through a real scheduler process, read and reported applied."""

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(folder, say, batches=2 if quick else 12)

    measured("stream", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
