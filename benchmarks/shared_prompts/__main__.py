"""`python -m benchmarks.shared_prompts`: the learner's forward and backward against the plain loss."""

from pathlib import Path

import typer

from benchmarks.session import AsJson, Findings, Quick, Say, measured
from benchmarks.shared_prompts.measure import PROMPTS, ROLLOUTS, measure
from benchmarks.shared_prompts.picture import draw


def main(quick: Quick = False, as_json: AsJson = False) -> None:
    """Groups of several sizes over prompts of several lengths, each computed both ways."""

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(ROLLOUTS[:2] if quick else ROLLOUTS, PROMPTS[:2] if quick else PROMPTS, say)

    measured("shared_prompts", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
