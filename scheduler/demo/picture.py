"""The picture of a run: accuracy over rollouts spent, where the rollouts went, and how many prompts were passed over.

Owns: the drawing of a `RunHistory` as PNG and SVG. Needs matplotlib (the extra `demo`). Never opens a window.
Invariant: colours are Okabe and Ito's, which colour-blind readers can tell apart, and a series
keeps its colour in every panel.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage, Verdict
from scheduler.demo.history import RunHistory, RunPoint
from scheduler.demo.statistics import Accuracy
from scheduler.drawing import DOTS_PER_INCH, MUTED, counts, head, style

WIDTH_INCHES, HEIGHT_INCHES = 16.0, 10.0

_BLUE, _ORANGE, _GREEN = "#0072B2", "#E69F00", "#009E73"
_SKY, _VERMILION, _PURPLE, _GREY = "#56B4E9", "#D55E00", "#CC79A7", "#B4BAC0"

_OUTCOME_BANDS: tuple[tuple[str, str, frozenset[Outcome]], ...] = (
    ("trained", _BLUE, frozenset({Outcome.TRAINED})),
    ("skipped: too easy", _ORANGE, frozenset({Outcome.SKIPPED})),
    ("deferred: too hard", _VERMILION, frozenset({Outcome.DEFERRED})),
    ("evicted: solved", _GREEN, frozenset({Outcome.EVICTED})),
    (
        "other",
        _GREY,
        frozenset(Outcome) - {Outcome.TRAINED, Outcome.SKIPPED, Outcome.DEFERRED, Outcome.EVICTED, Outcome.EVALUATED},
    ),
)
_STAGES = ((Stage.COMMIT, "commits", _BLUE), (Stage.PILOT, "pilots", _SKY))
_VERDICTS = (
    (Verdict.SKIP, "skip: too easy", _ORANGE),
    (Verdict.DEFER, "defer: too hard", _VERMILION),
    (Verdict.EVICT, "evict: solved", _GREEN),
)


def draw(history: RunHistory, directory: Path, name: str = "run") -> tuple[Path, Path]:
    """Write `name`.png (1600 by 1000) and `name`.svg into `directory`, made if missing; returns both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    png, svg = directory / f"{name}.png", directory / f"{name}.svg"
    with style():
        figure = _figure(history)
        figure.savefig(png, dpi=DOTS_PER_INCH, metadata={"Title": history.finding})
        figure.savefig(svg, metadata={"Title": history.finding, "Date": None})
    return png, svg


def _figure(history: RunHistory) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.add_gridspec(
        2, 3, height_ratios=(1.5, 1), left=0.055, right=0.975, top=0.79, bottom=0.075, hspace=0.36, wspace=0.2
    )
    figure.text(0.055, 0.945, history.finding, fontsize=19, fontweight="bold", va="center")
    figure.text(0.055, 0.903, _subtitle(history), fontsize=13.5, color=MUTED, va="center")
    _draw_accuracy(figure.add_subplot(panels[0, :]), history)
    _draw_outcomes(figure.add_subplot(panels[1, 0]), history.points)
    _draw_stages(figure.add_subplot(panels[1, 1]), history.points)
    _draw_skip_rates(figure.add_subplot(panels[1, 2]), history.points)
    return figure


def _subtitle(history: RunHistory) -> str:
    last = history.points[-1]
    parts = [history.model, f"allocator {history.allocator}", f"{last.step} steps", _duration(last.elapsed_s)]
    evaluated = last.rollouts.get(Stage.EVAL, 0)
    if evaluated:
        parts.append(f"{evaluated:,} evaluation rollouts besides")
    return "   \N{MIDDLE DOT}   ".join(parts)


def _draw_accuracy(axes: Axes, history: RunHistory) -> None:
    head(axes, "Held-out accuracy", "with its 95 % interval")
    width = max(1, history.points[-1].training_rollouts)
    axes.set_xlim(-0.03 * width, 1.03 * width)
    axes.set_ylim(0, 1)
    axes.set_xlabel("training rollouts spent: pilots and commits")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(counts())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1f}"))
    measured = [(point.training_rollouts, point.accuracy) for point in history.points if point.accuracy is not None]
    if measured:
        _draw_line(axes, measured)
    else:
        axes.text(0.5, 0.5, "not evaluated in this run", transform=axes.transAxes, ha="center", color=MUTED)
    _add_steps(axes, history.points)


def _draw_line(axes: Axes, measured: Sequence[tuple[int, Accuracy]]) -> None:
    spent = [rollouts for rollouts, _ in measured]
    estimates = [accuracy.estimate for _, accuracy in measured]
    lows, highs = [accuracy.low for _, accuracy in measured], [accuracy.high for _, accuracy in measured]
    axes.axhline(estimates[0], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.fill_between(spent, lows, highs, color=_BLUE, alpha=0.16, linewidth=0)
    axes.vlines(spent, lows, highs, color=_BLUE, linewidth=1.2, alpha=0.6)
    axes.plot(spent, estimates, color=_BLUE, linewidth=2.6, marker="o", markersize=8, markeredgecolor="white")
    for index in sorted({0, len(measured) - 1}):
        axes.annotate(
            f"{estimates[index]:.2f}",
            (spent[index], highs[index]),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=16,
            fontweight="bold",
            color=_BLUE,
        )


def _add_steps(axes: Axes, points: Sequence[RunPoint]) -> None:
    """A second axis on top: the training step at which so much was spent."""
    last = points[-1].step
    if last < 1:
        return
    wanted = [round(step) for step in MaxNLocator(nbins=10, integer=True).tick_values(0, last) if 0 <= step <= last]
    at = [min(points, key=lambda point: abs(point.step - step)).training_rollouts for step in wanted]
    steps = axes.secondary_xaxis("top")
    steps.set_xticks(at, [str(step) for step in wanted])
    steps.set_xlabel("training step", color=MUTED, labelpad=7)
    steps.tick_params(length=3)
    steps.spines["top"].set_visible(False)


def _draw_outcomes(axes: Axes, points: Sequence[RunPoint]) -> None:
    head(axes, "Where the rollouts went", "settled, by outcome")
    bands = [
        (label, colour, [_total(point.outcomes, outcomes) for point in points])
        for label, colour, outcomes in _OUTCOME_BANDS
    ]
    _stack(axes, points, bands)
    _as_counts(axes)


def _draw_stages(axes: Axes, points: Sequence[RunPoint]) -> None:
    head(axes, "Pilots and commits", "asked of servers, by stage")
    _stack(
        axes, points, [(label, colour, [p.rollouts.get(stage, 0) for p in points]) for stage, label, colour in _STAGES]
    )
    _as_counts(axes)


def _draw_skip_rates(axes: Axes, all_points: Sequence[RunPoint]) -> None:
    points = [point for point in all_points if point.skip_rates]
    head(axes, "Skip rate", "of prompts considered, by verdict")
    _stack(
        axes,
        points,
        [(label, colour, [p.skip_rates.get(verdict, 0.0) for p in points]) for verdict, label, colour in _VERDICTS],
    )
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}".replace("%", " %")))


def _stack(axes: Axes, points: Sequence[RunPoint], bands: Sequence[tuple[str, str, Sequence[float]]]) -> None:
    """Stacked areas over minutes, first band at the bottom, with a legend in the order of the stack."""
    minutes = [point.elapsed_s / 60 for point in points]
    axes.set_xlabel("minutes")
    bands = [band for band in bands if any(band[2])]
    if not bands:
        return
    axes.set_xlim(0, max(minutes[-1], 1e-3))
    axes.stackplot(
        minutes,
        [values for _, _, values in bands],
        labels=[label for label, _, _ in bands],
        colors=[colour for _, colour, _ in bands],
        edgecolor="white",
        linewidth=0.8,
    )
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", fontsize=11
    )


def _as_counts(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(counts())


def _total(counts: Mapping[Outcome, int], outcomes: Iterable[Outcome]) -> int:
    return sum(counts.get(outcome, 0) for outcome in outcomes)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
