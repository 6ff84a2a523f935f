"""Bars of seconds with every sample as a dot.

Owns: the layout that the pictures of peers share. Never measures.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from matplotlib.figure import Figure

from scheduler.drawing import BLUE, MUTED, head, style


def bars(samples: Mapping[str, Sequence[float]], *, ours: str, unit: str, title: str, note: str) -> Figure:
    """A bar for each name, from the top down; the one that begins with `ours` stands out."""
    names = list(samples)[::-1]
    with style():
        figure = Figure(figsize=(8, 1.5 + 0.6 * len(names)), layout="constrained")
        axes = figure.subplots()
        colours = [BLUE if name.startswith(ours) else MUTED for name in names]
        axes.barh(names, [median(samples[name]) for name in names], color=colours)
        for place, name in enumerate(names):
            axes.plot(samples[name], [place] * len(samples[name]), "k.", alpha=0.5)
        axes.set_xlabel(unit)
        head(axes, title, note)
        axes.grid(axis="y", visible=False)
    return figure
