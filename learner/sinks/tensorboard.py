"""A step's numbers as TensorBoard's event files.

Owns: the files of one learner process. Never reads one.
"""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

FLUSH_S = 10


class TensorBoardSink:
    """Scalars under the names that they have in the API."""

    def __init__(self, folder: Path) -> None:
        """A file of its own in `folder`, beside those of earlier processes of the run."""
        self._writer = SummaryWriter(folder, flush_secs=FLUSH_S)

    @property
    def name(self) -> str:
        """For people."""
        return "TensorBoard"

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """One point on every curve."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()
