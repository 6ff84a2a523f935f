"""A step's numbers as a run of Weights & Biases.

Owns: the run of one learner process; a process that resumes goes on with the run of its predecessor. Its mode, its key
and its address are Weights & Biases' own environment variables: WANDB_MODE=offline writes files and asks nobody.
"""

from collections.abc import Mapping
from pathlib import Path

import wandb


class WandbSink:
    """Numbers under the names that they have in the API, each with the step it belongs to."""

    def __init__(self, project: str, run_id: str, folder: Path) -> None:
        """`folder` takes the files. Raises wandb's errors, for want of a key above all."""
        self._run = wandb.init(
            project=project,
            id=run_id,
            name=run_id,
            dir=folder,
            resume="allow",
            # A learner is not to die of its console being read.
            settings=wandb.Settings(console="off", silent=True),
        )
        # Steps may come again after a crash: wandb's own counter only grows.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    @property
    def name(self) -> str:
        """For people."""
        return "Weights & Biases"

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """One point on every curve."""
        self._run.log({**numbers, "step": step})

    def close(self) -> None:
        """Write what is not written yet; waits for what is on its way."""
        self._run.finish()
