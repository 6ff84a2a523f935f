"""Accuracy against what was spent, a curve for each run.

Owns: the drawing of a comparison. Needs matplotlib (the extra `demo`), so import it late. Never computes.
"""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from scheduler.cli.comparison import Comparison
from scheduler.core.comparison import Spent
from scheduler.drawing import DOTS_PER_INCH, MUTED, colours, counts, head, style

_SIZE_INCHES = (14.0, 5.2)


def draw(found: Comparison, path: Path) -> None:
    """Write the picture, PNG or SVG by the path's suffix; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        figure = Figure(figsize=_SIZE_INCHES, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, found, "rollouts", lambda spent: spent.rollouts)
        _panel(right, found, "generated tokens", lambda spent: spent.tokens)
        left.set_ylabel(f"accuracy on {found.pool}")
        left.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
        figure.savefig(path, dpi=DOTS_PER_INCH)


def _panel(axes: Axes, found: Comparison, what: str, of: Callable[[Spent], float]) -> None:
    # By id: two runs of one allocator are two curves.
    inks = colours([run.run_id for run in found.runs])
    for run in found.runs:
        spent = [of(point.spent) for point in run.points]
        values = [point.accuracy for point in run.points]
        label = f"{run.run_id} ({run.allocator})"
        axes.plot(spent, values, color=inks[run.run_id], linewidth=2, marker="o", markersize=4, label=label)
        if run.at_accuracy is not None and found.accuracy is not None:
            axes.plot([of(run.at_accuracy)], [found.accuracy], marker="D", markersize=9, color=inks[run.run_id])
    if found.accuracy is not None:
        axes.axhline(found.accuracy, color=MUTED, linewidth=1, linestyle="--")
    head(axes, what, "diamonds: where the common accuracy is reached" if found.accuracy is not None else "")
    axes.xaxis.set_major_formatter(counts())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlim(left=0)
