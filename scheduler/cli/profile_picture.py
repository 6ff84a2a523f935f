"""How hard a pool is, as a picture.

Owns: the drawing of a profile. Needs matplotlib (the extra `demo`), so import it late. Never computes.
"""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scheduler.cli.profile_answers import Profile
from scheduler.drawing import BLUE, DOTS_PER_INCH, MUTED, counts, head, style

_SIZE_INCHES = (8.0, 4.8)


def draw(found: Profile, path: Path, *, pool: str, allocator: str) -> None:
    """Write the picture, PNG or SVG by the path's suffix; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        figure = Figure(figsize=_SIZE_INCHES, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for commits, colour, label in ((True, BLUE, f"{allocator} commits"), (False, MUTED, "it does not")):
            bars = [bar for bar in found.bars if (bar.decision == "commit") is commits]
            axes.bar([bar.correct for bar in bars], [bar.prompts for bar in bars], color=colour, label=label)
        note = f"{found.prompts:,} prompts, {found.mixed_rate or 0.0:.0%} mixed"
        head(axes, f"Right pilots of {found.pilots} in {pool}", note)
        axes.set_xticks([bar.correct for bar in found.bars])
        axes.set_ylabel("prompts")
        axes.yaxis.set_major_formatter(counts())
        axes.legend(frameon=True, framealpha=0.9, edgecolor="none")
        figure.savefig(path, dpi=DOTS_PER_INCH)
