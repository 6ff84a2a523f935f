"""The picture of a push: its seconds beside those of the bare load and of the bare copy.

Owns: its layout. Never measures.
"""

from statistics import median

from matplotlib.figure import Figure

from benchmarks.figures import Report
from scheduler.drawing import BLUE, MUTED, head, style


def draw(report: Report) -> Figure:
    """Medians as bars, every sample as a dot."""
    names = ["copy s", "bare load s", "push s"]
    with style():
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots()
        labels = ["bare copy of the file", "bare load by SGLang", "push by the scheduler"]
        axes.barh(labels, [median(report.raw[name]) for name in names], color=[MUTED, MUTED, BLUE])
        for place, name in enumerate(names):
            axes.plot(report.raw[name], [place] * len(report.raw[name]), "k.", alpha=0.5)
        axes.set_xlabel("seconds")
        axes.grid(axis="y", visible=False)
        head(axes, "New weights for one server", "real SGLang, from disk")
    return figure
