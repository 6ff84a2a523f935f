"""`python -m benchmarks.table`: the informativeness table with a million prompts and more."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.session import AsJson, Findings, Quick, Say, measured
from benchmarks.table.measure import SIZES, measure
from benchmarks.table.picture import draw


def main(
    prompts: Annotated[list[int] | None, typer.Option(help="Sizes of the table; once for each.")] = None,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Claims, bytes and uploads against the number of prompts in Redis."""
    sizes = tuple(sorted(prompts or ((2_000, 20_000) if quick else SIZES)))

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(sizes, folder, say)

    measured("table", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
