"""`python -m benchmarks.push`: new weights for a real server, against the bare load, copy and broadcast."""

from pathlib import Path

import typer

from benchmarks.push.measure import measure
from benchmarks.push.picture import draw
from benchmarks.session import AsJson, Findings, Quick, Say, measured


def main(quick: Quick = False, as_json: AsJson = False) -> None:
    """A scheduler, a real SGLang and a checkpoint that is pushed again and again."""

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(folder, say, times=2 if quick else 8)

    measured("push", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
