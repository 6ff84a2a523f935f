"""The pictures of a comparison: accuracy against rollouts beside the pool, and the regime that the runs were in.

Owns: the drawing. Needs matplotlib (the extra `demo`). Never opens a window, never computes a result. Invariant: an
allocator keeps its colour in every panel; seeds are thin lines, their mean a thick one.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.target.curves import Axis, Curve, curve_of, mean_curve, smoothed
from benchmarks.target.record import Record, Version
from benchmarks.target.targets import Targets
from scheduler.drawing import BLUE, DOTS_PER_INCH, MUTED, colours, head, style

WIDTH_INCHES, HEIGHT_INCHES = 16.0, 8.0
_BINS = np.linspace(0.0, 1.0, 21)
_SMOOTHED_STEPS = 9
"""Steps that the regime's lines are the running mean of."""


def draw(
    records: Sequence[Record],
    rates: Sequence[float],
    targets: Targets | None,
    directory: Path,
    *,
    name: str,
    title: str,
) -> tuple[Path, Path]:
    """Write `name`.png, accuracy and pool, and `name`-regime.png, made from the records; returns both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    accuracy, regime = directory / f"{name}.png", directory / f"{name}-regime.png"
    with style():
        _accuracy_figure(records, rates, targets, title).savefig(accuracy, dpi=DOTS_PER_INCH)
        _regime_figure(records, title).savefig(regime, dpi=DOTS_PER_INCH)
    return accuracy, regime


def _accuracy_figure(records: Sequence[Record], rates: Sequence[float], targets: Targets | None, title: str) -> Figure:
    figure = _figure(title)
    panels = figure.add_gridspec(1, 2, width_ratios=(3, 1), left=0.055, right=0.98, top=0.84, bottom=0.1, wspace=0.16)
    _draw_accuracy(figure.add_subplot(panels[0, 0]), records, targets)
    _draw_pool(figure.add_subplot(panels[0, 1]), rates)
    return figure


def _regime_figure(records: Sequence[Record], title: str) -> Figure:
    figure = _figure(title)
    panels = figure.add_gridspec(1, 3, left=0.055, right=0.98, top=0.84, bottom=0.1, wspace=0.2)
    for column, (title_of_panel, note, measure) in enumerate(_MEASURES):
        axes = figure.add_subplot(panels[0, column])
        head(axes, title_of_panel, note)
        _draw_measure(axes, records, measure)
    return figure


def _figure(title: str) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.055, 0.945, title, fontsize=19, fontweight="bold", va="center")
    return figure


def _draw_accuracy(axes: Axes, records: Sequence[Record], targets: Targets | None) -> None:
    head(axes, "Held-out accuracy", "mean of three evaluations; thin: seeds, thick: their mean")
    axes.set_xlabel("training rollouts spent: pilots and commits, whatever became of them")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for name, colour in _colours(records).items():
        curves = [smoothed(curve_of(record, Axis.ROLLOUTS)) for record in _of(records, name)]
        for curve in curves:
            axes.plot(curve.spent, curve.accuracy, color=colour, linewidth=0.8, alpha=0.45)
        _draw_mean(axes, mean_curve(curves), name, colour)
    if targets is not None:
        _draw_targets(axes, targets)
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=11)


def _draw_mean(axes: Axes, curve: Curve, name: str, colour: str) -> None:
    axes.plot(curve.spent, curve.accuracy, color=colour, linewidth=2.6, label=name)


def _draw_targets(axes: Axes, targets: Targets) -> None:
    for share, accuracy in targets.accuracy.items():
        axes.axhline(accuracy, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        axes.annotate(
            f"{share} % of GRPO's gain",
            (0, accuracy),
            xycoords=("axes fraction", "data"),
            xytext=(6, 3),
            textcoords="offset points",
            fontsize=10,
            color=MUTED,
        )


def _draw_pool(axes: Axes, rates: Sequence[float]) -> None:
    head(axes, "The pool", f"{len(rates):,} prompts")
    axes.hist(rates, bins=list(_BINS), color=BLUE, alpha=0.85, edgecolor="white")
    axes.set_xlabel("success rate before training")
    axes.set_xlim(0, 1)


def _draw_measure(axes: Axes, records: Sequence[Record], measure: Callable[[Version], float | None]) -> None:
    axes.set_xlabel("training step")
    for name, colour in _colours(records).items():
        lines = [_line(record.versions, measure) for record in _of(records, name)]
        for line in lines:
            axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=0.8, alpha=0.45)
        shortest = min(map(len, lines), default=0)
        if shortest:
            mean = np.mean([line[:shortest] for line in lines], axis=0)
            axes.plot(range(1, shortest + 1), mean, color=colour, linewidth=2.4, label=name)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=10)


def _line(versions: Iterable[Version], measure: Callable[[Version], float | None]) -> list[float]:
    """The running mean of a measure over the steps that have it."""
    values = [value for version in versions if version.stats and (value := measure(version)) is not None]
    if not values:
        return []
    half = _SMOOTHED_STEPS // 2
    return [float(np.mean(values[max(0, place - half) : place + half + 1])) for place in range(len(values))]


def _stat(name: str) -> Callable[[Version], float | None]:
    return lambda version: version.stats.get(name)


def _clipped(version: Version) -> float | None:
    updates = version.stats.get("num_updates", 0.0)
    return version.stats.get("num_clipped_updates", 0.0) / updates if updates else None


_MEASURES: tuple[tuple[str, str, Callable[[Version], float | None]], ...] = (
    ("Gradient norm", "before clipping", _stat("grad_norm")),
    ("Clipped updates", "share", _clipped),
    ("Half-batch cosine", "of two halves' gradients", _stat("half_batch_cosine")),
)


def _of(records: Sequence[Record], name: str) -> list[Record]:
    return [record for record in records if record.header.name == name]


def _colours(records: Sequence[Record]) -> dict[str, str]:
    """Every allocator's colour, in the order of the records."""
    return colours([record.header.name for record in records])
