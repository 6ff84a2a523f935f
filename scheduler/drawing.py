"""How the pictures of this project look: one style, one ink, one colour per allocator.

Owns: colours, style and the head of a panel. Needs matplotlib (the extra `demo`), so import it late. Never draws data.
Invariant: an allocator has the same colour in every picture; most are Okabe and Ito's, which colour-blind readers can
tell apart.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

DOTS_PER_INCH = 100
BLUE = "#0072B2"
INK, MUTED, GRID = "#1b1f24", "#626b75", "#e6e9ec"
_COLOURS: Mapping[str, str] = {
    "adaptive": BLUE,
    "pilot_commit": "#E69F00",
    "dapo": "#D55E00",
    "dapo_carry": "#CC79A7",
    "speed_rl": "#009E73",
    "greso": "#56B4E9",
    "grpo": "#8A939C",
    "mopps": "#6A3D9A",
    "reinforce_ada": INK,
}
_OTHERS = ("#8ca252", "#ad494a", "#6b6ecf", "#a55194", "#8c6d31")
"""For rules of one's own and variants, by turns."""


def style() -> AbstractContextManager[None]:
    """The style, for as long as the block lasts."""
    return rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 12,
            "text.color": INK,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "svg.hashsalt": "pilotcommit",
        }
    )


def colours(names: Sequence[str]) -> dict[str, str]:
    """The colour of each allocator, in their order."""
    others = [name for name in dict.fromkeys(names) if name not in _COLOURS]
    turns = {name: _OTHERS[number % len(_OTHERS)] for number, name in enumerate(others)}
    return {name: _COLOURS.get(name) or turns[name] for name in dict.fromkeys(names)}


def head(axes: Axes, title: str, note: str) -> None:
    """A panel's title on the left and what it shows on the right."""
    axes.set_title(title, loc="left", fontsize=14, fontweight="bold", pad=10)
    axes.set_title(note, loc="right", fontsize=11, color=MUTED, pad=10)
    axes.grid(axis="x", visible=False)


def counts() -> FuncFormatter:
    """Whole numbers with thousands apart; one per axis, for a formatter keeps hold of its axis."""
    return FuncFormatter(lambda value, _: f"{value:,.0f}")
