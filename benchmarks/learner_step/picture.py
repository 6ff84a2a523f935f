"""The picture of a training step: ours beside TRL's.

Owns: its layout. Never measures.
"""

from statistics import median

from matplotlib.figure import Figure

from benchmarks.figures import Report
from scheduler.drawing import BLUE, MUTED, head, style


def draw(report: Report) -> Figure:
    """Seconds of a step, every sample as a dot."""
    names = list(reversed(report.raw))
    with style():
        figure = Figure(figsize=(8, 3.5), layout="constrained")
        axes = figure.subplots()
        colours = [BLUE if name.startswith("ours") else MUTED for name in names]
        axes.barh(
            [name.removesuffix(" s") for name in names], [median(report.raw[name]) for name in names], color=colours
        )
        for place, name in enumerate(names):
            axes.plot(report.raw[name], [place] * len(report.raw[name]), "k.", alpha=0.5)
        axes.set_xlabel("seconds a step")
        axes.grid(axis="y", visible=False)
        head(axes, "One training step", "same rows, same model, CPU")
    return figure
