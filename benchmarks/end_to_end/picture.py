"""The picture of the comparison with TRL: accuracy against minutes, and where the seconds of a step go.

Owns: its layout. Never measures. Invariant: a side has the same colour in both panels' names as in every other picture.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.end_to_end.findings import HEADLINE
from benchmarks.end_to_end.parts import EVALUATION, GENERATION, LEARNING, PUBLISH, REST, WAITING
from benchmarks.end_to_end.plan import OF
from benchmarks.figures import Report
from benchmarks.target import targets
from benchmarks.target.plan import runs_of
from benchmarks.target.settings import load
from scheduler.drawing import BLUE, GRID, INK, MUTED, colours, head, style

_PARTS = {
    GENERATION: "#E69F00",
    LEARNING: BLUE,
    PUBLISH: "#009E73",
    WAITING: "#CC79A7",
    REST: MUTED,
    EVALUATION: GRID,
}


def draw(report: Report) -> Figure:
    """Every run as a line on the left, the mean step of each side on the right."""
    runs = [what.removesuffix(" minutes") for what in report.raw if what.endswith(" minutes")]
    with style():
        figure = Figure(figsize=(13, 5), layout="constrained")
        accuracy, steps = figure.subplots(1, 2)
        _draw_accuracy(accuracy, report, runs)
        _draw_steps(steps, report, runs)
    return figure


def _draw_accuracy(axes: Axes, report: Report, runs: list[str]) -> None:
    colour = colours([_side(run) for run in runs])
    named: set[str] = set()
    for run in runs:
        label = None if _side(run) in named else _side(run)
        named.add(_side(run))
        axes.plot(report.raw[f"{run} minutes"], report.raw[f"{run} accuracy"], color=colour[_side(run)], label=label)
    target = targets.load()[runs_of(load(), OF)[0].pool].accuracy[HEADLINE]
    axes.axhline(target, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(left=0)
    axes.set_xlabel("minutes, without evaluations")
    axes.legend(frameon=False)
    head(axes, "Held-out accuracy", f"dashed: {HEADLINE} % of GRPO's gain")


def _draw_steps(axes: Axes, report: Report, runs: list[str]) -> None:
    shown = runs[::-1]
    for place, run in enumerate(shown):
        left = 0.0
        for part, colour in _PARTS.items():
            seconds = report.raw.get(f"{run} s of {part}", [0.0])[0]
            axes.barh(place, seconds, left=left, color=colour, height=0.55)
            left += seconds
        beside = report.raw.get(f"{run} s beside of {GENERATION}", [0.0])[0]
        axes.barh(place - 0.38, beside, color=_PARTS[GENERATION], height=0.12)
        axes.text(left, place, f" {left:.1f} s", va="center", color=INK, fontsize=11)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_xlabel("seconds a step")
    for part, colour in _PARTS.items():
        axes.barh(0, 0, color=colour, label=part)
    axes.legend(frameon=False, fontsize=10)
    axes.grid(axis="y", visible=False)
    head(axes, "One training step", "thin: generation beside the learner")


def _side(run: str) -> str:
    return run.partition("/")[0]
