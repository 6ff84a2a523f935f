"""A training step of ours against TRL's GRPOTrainer: the same model, rows, precision and threads.

Owns: the processes, their order and the figures. Invariant: both are timed from the batch to the updated weights, with
nothing sampled; TRL is shown at the fastest of its micro-batch sizes.
"""

import asyncio
import json
import sys
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.figures import Figure
from benchmarks.learner_step.batch import Shape, draw, write_rows
from benchmarks.model import model_folder
from benchmarks.session import Findings, Say
from benchmarks.trl import TRL_VERSION, trl_python
from scheduler.core.errors import LearnerError

MICRO = (2, 4)
"""Rows of one of TRL's micro-batches; 16 at a time took 58 s where 4 took 34."""


async def measure(folder: Path, say: Say, *, shape: Shape, steps: int) -> Findings:
    """Ours first, then TRL at each micro-batch size, then ours again."""
    model, python, rows = model_folder(), trl_python(say), folder / "rows.json"
    tokens = write_rows(draw(shape), rows)
    ours = ("-m", "benchmarks.learner_step.ours", str(model), msgspec.json.encode(shape).decode(), str(steps))
    mine = await _seconds(sys.executable, ours, say, "ours")
    theirs: dict[int, list[float]] = {}
    for micro in MICRO:
        peer = Path(__file__).with_name("trl_peer.py")
        arguments = (str(peer), str(model), str(rows), str(steps), str(micro), str(folder / f"trl-{micro}"))
        theirs[micro] = await _seconds(str(python), arguments, say, f"TRL, {micro} rows at a time")
    mine += await _seconds(sys.executable, ours, say, "ours again")
    fastest = min(theirs, key=lambda micro: median(theirs[micro]))
    ratio = median(theirs[fastest]) / median(mine)
    figures = [
        Figure(
            what="learner step against TRL's GRPOTrainer, CPU",
            value=ratio,
            target=1.5,
            note=f"TRL {TRL_VERSION}, {fastest} rows at a time; {shape.groups} groups of {shape.rollouts}, prompts of "
            f"{shape.prompt_tokens} and completions of {shape.completion_tokens} tokens in the mean",
        ),
        Figure(
            what="ours",
            value=tokens / median(mine),
            unit="tokens/s",
            note=f"{min(mine):.1f} to {max(mine):.1f} s a step",
        ),
        *(
            Figure(
                what=f"TRL, {micro} rows at a time",
                value=tokens / median(seconds),
                unit="tokens/s",
                note=f"{min(seconds):.1f} to {max(seconds):.1f} s a step",
            )
            for micro, seconds in theirs.items()
        ),
    ]
    return figures, {"ours s": mine, **{f"TRL {micro} rows s": seconds for micro, seconds in theirs.items()}}


async def _seconds(python: str, arguments: tuple[str, ...], say: Say, name: str) -> list[float]:
    process = await asyncio.create_subprocess_exec(
        python, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise LearnerError(f"{name} ended with code {process.returncode}: {errors.decode()[-1500:]}")
    seconds: list[float] = json.loads(output.decode().strip().splitlines()[-1])
    say(f"{name}: {median(seconds):.1f} s a step")
    return seconds
