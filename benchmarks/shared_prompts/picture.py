"""The picture of shared prompts: speed-up against the ideal.

Owns: its layout. Never measures.
"""

from matplotlib.figure import Figure

from benchmarks.figures import Report
from benchmarks.shared_prompts.measure import points_of
from scheduler.drawing import BLUE, MUTED, head, style

_SHADES = ("#a6cbe3", "#5aa3cf", BLUE, "#00456e")


def draw(report: Report) -> Figure:
    """A line for each size of group; dotted, what the tokens alone would give."""
    points = points_of(report.raw)
    sizes = sorted({point.rollouts for point in points})
    with style():
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for size, colour in zip(sizes, _SHADES, strict=False):
            own = sorted((point for point in points if point.rollouts == size), key=lambda point: point.prompt)
            lengths = [point.prompt for point in own]
            axes.plot(lengths, [point.speed_up for point in own], "o-", color=colour, label=f"{size} rollouts")
            axes.plot(lengths, [point.ideal for point in own], ":", color=colour)
        axes.plot([], [], ":", color=MUTED, label="ideal by tokens")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xlabel("tokens of the prompt")
        axes.set_ylabel("times as fast as the plain loss")
        axes.legend(frameon=False)
        head(axes, "Prompts computed once a group", "forward and backward, equal gradients")
    return figure
