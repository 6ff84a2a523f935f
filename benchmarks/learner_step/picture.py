"""The picture of a training step: ours beside TRL's.

Owns: what is drawn. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.bars import bars
from benchmarks.figures import Report


def draw(report: Report) -> Figure:
    """Seconds of a step."""
    samples = {name.removesuffix(" s"): found for name, found in report.raw.items()}
    return bars(samples, ours="ours", unit="seconds a step", title="One training step", note="same rows and model, CPU")
