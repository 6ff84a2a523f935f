"""The picture of a comparison: signal per rollout by rule and pool, and how drifting pools are learnt.

Owns: the drawing of standings as PNG and SVG. Needs matplotlib (the extra `demo`), so import it late. Never opens a
window. Invariant: a rule keeps its colour in every panel and picture.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from scheduler.drawing import DOTS_PER_INCH, MUTED, style
from scheduler.drawing import colours as colours_of
from scheduler.simulator.comparison import Plan, Standing
from scheduler.simulator.pool import SHAPES, PoolName

WIDTH_INCHES, ROW_INCHES = 16.0, 4.6
_HEAD_INCHES = 1.25


def draw(plan: Plan, standings: Sequence[Standing], directory: Path, name: str = "simulation") -> tuple[Path, Path]:
    """Write `name`.png (1600 wide) and `name`.svg into `directory`, made if missing; returns both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    png, svg = directory / f"{name}.png", directory / f"{name}.svg"
    title = _finding(standings)
    with style():
        figure = _figure(plan, standings, title)
        figure.savefig(png, dpi=DOTS_PER_INCH, metadata={"Title": title})
        figure.savefig(svg, metadata={"Title": title, "Date": None})
    return png, svg


def _finding(standings: Sequence[Standing]) -> str:
    """Who leads on how many pools."""
    pools = list(dict.fromkeys(standing.pool for standing in standings))
    leaders = [max(_of(standings, pool), key=lambda standing: standing.signal.mean).label for pool in pools]
    first = max(dict.fromkeys(leaders), key=leaders.count)
    return f"{first} gets the most signal from a rollout on {leaders.count(first)} of {len(pools)} modelled pools"


def _of(standings: Sequence[Standing], pool: PoolName) -> list[Standing]:
    return [standing for standing in standings if standing.pool is pool]


def _figure(plan: Plan, standings: Sequence[Standing], title: str) -> Figure:
    drifting = [pool for pool in plan.pools if SHAPES[pool].drifts]
    num_rows = 1 + bool(drifting)
    height = _HEAD_INCHES + num_rows * ROW_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="white")
    FigureCanvasAgg(figure)
    rows = figure.add_gridspec(
        num_rows, 1, left=0.105, right=0.975, top=1 - _HEAD_INCHES / height - 0.05, bottom=0.65 / height, hspace=0.42
    )
    figure.text(0.025, 1 - 0.5 / height, title, fontsize=19, fontweight="bold", va="center")
    figure.text(0.025, 1 - 0.9 / height, _subtitle(plan), fontsize=13.5, color=MUTED, va="center")
    colours = colours_of([entrant.label for entrant in plan.entrants])
    panels = rows[0].subgridspec(1, len(plan.pools), wspace=0.14)
    for number, pool in enumerate(plan.pools):
        _draw_signal(figure.add_subplot(panels[number]), _of(standings, pool), colours, is_first=not number)
    if drifting:
        panels = rows[1].subgridspec(1, len(drifting), wspace=0.14)
        for number, pool in enumerate(drifting):
            axes = figure.add_subplot(panels[number])
            _draw_curves(axes, _of(standings, pool), colours, plan.baseline.label)
            if not number:
                axes.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", fontsize=10, ncols=2)
    return figure


def _subtitle(plan: Plan) -> str:
    setting = plan.setting
    parts = (
        f"{plan.num_prompts:,} prompts",
        f"{setting.steps} steps of {setting.batch_size} groups",
        f"at most {setting.largest_group} rollouts a group",
        f"{plan.seeds} seeds, 95 % intervals",
    )
    return "   \N{MIDDLE DOT}   ".join(parts)


def _draw_signal(axes: Axes, standings: Sequence[Standing], colours: Mapping[str, str], *, is_first: bool) -> None:
    """One pool: a dot a rule, with its interval, over the line of the baseline."""
    _head(axes, standings[0].pool, "GRPO = 1")
    axes.axvline(1.0, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for row, standing in enumerate(standings):
        colour, signal = colours[standing.label], standing.signal
        axes.hlines(row, signal.low, signal.high, color=colour, linewidth=2.2)
        axes.plot([signal.mean], [row], marker="o", markersize=9, color=colour, markeredgecolor="white")
        axes.annotate(
            f"{signal.mean:.2f}",
            (signal.mean, row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axes.set_yticks(range(len(standings)), [standing.label if is_first else "" for standing in standings])
    axes.set_ylim(len(standings) - 0.4, -0.8)
    axes.set_xlim(0, 1.12 * max(1.0, *(standing.signal.mean for standing in standings)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(axis="y", visible=False)


def _draw_curves(axes: Axes, standings: Sequence[Standing], colours: Mapping[str, str], baseline: str) -> None:
    """One drifting pool: its mean success rate over rollouts generated, a line a rule, the baseline's on top."""
    _head(axes, standings[0].pool, "mean success rate of the pool")
    for standing in sorted(standings, key=lambda standing: standing.label == baseline):
        spent = [point.rollouts for point in standing.curve]
        rates = [point.success_rate for point in standing.curve]
        style = (0, (3, 2)) if standing.label == baseline else "-"
        axes.plot(spent, rates, color=colours[standing.label], linewidth=2.2, linestyle=style, label=standing.label)
    low, high = axes.get_ylim()
    # Above the curves is room for the legend.
    axes.set_ylim(low, high + 0.25 * (high - low))
    ends = sorted(standing.curve[-1].rollouts for standing in standings)
    # The rules that spend most for the same steps would press all others against the axis.
    axes.set_xlim(0, 1.5 * ends[len(ends) // 2])
    axes.set_xlabel("rollouts generated")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="x", visible=False)


def _head(axes: Axes, title: str, note: str) -> None:
    axes.set_title(title.replace("_", " "), loc="left", fontsize=13, fontweight="bold", pad=24)
    axes.text(0, 1.025, note, transform=axes.transAxes, fontsize=10.5, color=MUTED)
