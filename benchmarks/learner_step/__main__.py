"""`python -m benchmarks.learner_step`: a step of our trainer against TRL's, on identical rows."""

from pathlib import Path

import typer

from benchmarks.learner_step.batch import Shape
from benchmarks.learner_step.measure import measure
from benchmarks.learner_step.picture import draw
from benchmarks.session import AsJson, Findings, Quick, Say, measured


def main(quick: Quick = False, as_json: AsJson = False) -> None:
    """Both trainers in processes of their own, one after the other."""
    shape = Shape(groups=1, rollouts=4, prompt_tokens=16, completion_tokens=8) if quick else Shape()

    async def work(folder: Path, say: Say) -> Findings:
        return await measure(folder, say, shape=shape, steps=1 if quick else 2)

    measured("learner_step", work, draw, as_json=as_json, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
