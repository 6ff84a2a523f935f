"""The picture of a push: its seconds, both ways, beside those of the bare ways.

Owns: what is drawn. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.bars import bars
from benchmarks.figures import Report


def draw(report: Report) -> Figure:
    """Seconds until a server has new weights."""
    samples = {
        "push from disk": report.raw["push s"],
        "bare load by SGLang": report.raw["bare load s"],
        "SGLang's checksum": report.raw["checksum s"],
        "bare copy of the file": report.raw["copy s"],
        "push by broadcast": report.raw["push by broadcast s"],
        "bare broadcast": report.raw["bare broadcast s"],
    }
    return bars(
        samples,
        ours="push",
        unit="seconds",
        title="New weights for one server",
        note="real SGLang",
    )
