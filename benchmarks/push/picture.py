"""The picture of a push: its seconds beside those of the bare load and of the bare copy.

Owns: what is drawn. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.bars import bars
from benchmarks.figures import Report


def draw(report: Report) -> Figure:
    """Seconds until a server has new weights."""
    samples = {
        "push by the scheduler": report.raw["push s"],
        "bare load by SGLang": report.raw["bare load s"],
        "bare copy of the file": report.raw["copy s"],
    }
    return bars(samples, ours="push", unit="seconds", title="New weights for one server", note="real SGLang, from disk")
