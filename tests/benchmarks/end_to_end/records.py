"""Hand-made lines of TRL, and records of either side."""

from dataclasses import replace

import msgspec

from benchmarks.end_to_end.lines import Over, Step, record_of
from benchmarks.end_to_end.plan import TRL
from benchmarks.target.record import Record
from tests.benchmarks.target.records import make_record

OVER = Over(reached_target=True, reason="it is past the target", elapsed_s=90.0)


def make_step(step: int, accuracy: float | None = None, *, seconds: float = 30.0) -> Step:
    """A step: a third of it generates, half of it learns, and its evaluation takes five seconds."""
    return Step(
        step=step,
        elapsed_s=seconds * step,
        rollouts=100 * step,
        tokens=500 * step,
        generation_s=seconds * step / 3,
        learning_s=seconds * step / 2,
        accuracy=accuracy,
        evaluation_s=0.0 if accuracy is None else 5.0,
    )


def make_trl(*accuracies: float, seconds: float = 30.0, seed: int = 0) -> Record:
    """TRL's run with an evaluation at every step."""
    header = make_record(name=TRL, seed=seed).header
    steps = [make_step(step, accuracy, seconds=seconds) for step, accuracy in enumerate(accuracies)]
    return record_of(header, [*steps, OVER])


def make_ours(*accuracies: float, name: str = "grpo", evaluation_s: float = 0.0) -> Record:
    """A run of ours: four of a step's ten seconds are learning, one publishing, eight have rollouts in flight."""
    made = make_record(accuracies, name=name, evaluation_s=evaluation_s)
    parts = {"learning": 4.0, "publish": 1.0, "push": 0.5, "generation": 8.0, "scheduler": 0.25}
    return replace(made, versions=tuple(msgspec.structs.replace(version, parts=parts) for version in made.versions))
