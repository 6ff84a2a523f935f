"""`python -m benchmarks.learner_step.ours MODEL SHAPE STEPS`: our trainer on the batch; prints seconds of each step."""

import json
import os
import sys
import time
from pathlib import Path

import msgspec
import torch

from benchmarks.learner_step.batch import Shape, draw
from learner.loss import Objective
from learner.model_files import load_model
from learner.trainer import Computation, Optimisation, Trainer


def main(model: str, shape: str, steps: int) -> None:
    """One warm-up, then as many steps as asked."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    groups = draw(msgspec.json.decode(shape, type=Shape))
    trainer = Trainer(
        load_model(Path(model), torch.device("cpu")),
        objective=Objective(),
        optimisation=Optimisation(learning_rate=1e-6),
        computation=Computation(),
    )
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        trainer.step(groups)
        seconds.append(time.perf_counter() - began)
    sys.stdout.write(json.dumps(seconds[1:]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
