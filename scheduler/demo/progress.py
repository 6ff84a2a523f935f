"""What a running run looks like on a terminal, live; and as occasional plain lines anywhere else.

Owns: `Snapshot`, its rendering, and the display that shows it. Never asks anyone for the facts and never keeps time: a
snapshot carries both. Invariant: rendering is pure, so a snapshot always looks the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scheduler.core.lifecycle import RunState
from scheduler.core.types import Verdict
from scheduler.demo.statistics import Accuracy

LINE_INTERVAL_S = 15.0
_LABEL_WIDTH = 12
_TOLD_FROM, _TOLD_AFTER_S = 0.05, 10.0
"""Share of the budget, and seconds, from which on the time left is told."""
_DASH = "\N{EN DASH}"
_SEPARATOR = "  \N{MIDDLE DOT}  "

_STATE_COLOURS: Mapping[RunState, str] = {
    RunState.QUEUED: "yellow",
    RunState.WAITING_WEIGHTS: "yellow",
    RunState.RUNNING: "green",
    RunState.PAUSED: "yellow",
    RunState.DRAINING: "cyan",
    RunState.FINISHED: "green",
    RunState.EXHAUSTED: "green",
    RunState.CANCELLED: "magenta",
    RunState.FAILED: "red",
}
_VERDICT_WORDS = (
    (Verdict.SKIP, "too easy", "yellow"),
    (Verdict.DEFER, "too hard", "red"),
    (Verdict.EVICT, "solved", "green"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLine:
    """One server, in a line."""

    name: str
    state: str
    ready: bool
    """Whether it gets requests now."""
    in_flight: int = 0
    version: int | None = None
    """The weight version confirmed on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment, as far as it is shown."""

    title: str
    """Run, model and allocator in a few words."""
    elapsed_s: float
    state: RunState
    waiting_for: str = ""
    """What the run waits for, or why it ended; empty while it waits for nothing."""
    rollouts_used: int = 0
    rollouts_budget: int = 0
    """Training rollouts allowed; 0 shows no bar."""
    step: int = 0
    max_steps: int | None = None
    skip_rates: Mapping[Verdict, float] = field(default_factory=dict)
    """Share of the prompts considered lately that ended in each verdict but COMMIT."""
    pilot_success_rate: float | None = None
    """Before any selection: how hard the pool is for the policy."""
    first_accuracy: Accuracy | None = None
    """Held-out accuracy before training."""
    accuracy: Accuracy | None = None
    """Held-out accuracy measured last."""
    accuracy_version: int | None = None
    """The weight version it was measured at."""
    version: int | None = None
    """The weight version published last."""
    staleness: float | None = None
    """Mean over the batch trained last."""
    max_staleness: int | None = None
    servers: tuple[ServerLine, ...] = ()


def render(snapshot: Snapshot) -> RenderableType:
    """The snapshot as a panel of labelled rows, legible from 70 columns on."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", width=_LABEL_WIDTH)
    rows.add_column(ratio=1)
    for label, value in (
        ("state", _state(snapshot)),
        ("budget", _budget(snapshot)),
        ("steps", Text(_steps(snapshot))),
        ("weights", Text(_weights(snapshot))),
        ("pilots right", _pilots(snapshot)),
        ("skip rate", _skip_rate(snapshot)),
        ("held-out", _accuracy(snapshot)),
        *((("servers" if index == 0 else ""), _server(server)) for index, server in enumerate(snapshot.servers)),
    ):
        rows.add_row(label, value)
    return Panel(
        rows,
        title=Text(snapshot.title, style="bold"),
        title_align="left",
        subtitle=Text(_times(snapshot), style="dim"),
        subtitle_align="right",
        border_style=_STATE_COLOURS[snapshot.state],
        box=box.ROUNDED,
        padding=(1, 2),
    )


def render_line(snapshot: Snapshot) -> str:
    """The snapshot as one plain line, for logs and pipes."""
    parts = [_times(snapshot), snapshot.state.value]
    if snapshot.waiting_for:
        parts.append(snapshot.waiting_for)
    parts += [
        f"step {_steps(snapshot)}",
        f"rollouts {_spent(snapshot)}",
        f"weights {_weights(snapshot)}",
        f"pilots right {_rate(snapshot.pilot_success_rate)}",
        f"skip rate {_rate(_total_skip_rate(snapshot))}",
        f"held-out {_accuracy(snapshot).plain}",
    ]
    return " | ".join(parts)


class ProgressDisplay:
    """Shows snapshots on a console: redrawn in place on a terminal, a plain line now and then elsewhere."""

    def __init__(self, console: Console, *, line_interval_s: float = LINE_INTERVAL_S) -> None:
        self._console = console
        self._line_interval_s = line_interval_s
        self._last: Snapshot | None = None
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Show the snapshot now; elsewhere than on a terminal, only if it is due or its state changed."""
        if self._live is not None:
            self._live.update(render(snapshot), refresh=True)
        elif self._is_due(snapshot):
            self._last = snapshot
            self._console.print(render_line(snapshot), markup=False, highlight=False, soft_wrap=True)

    def _is_due(self, snapshot: Snapshot) -> bool:
        last = self._last
        return (
            last is None
            or snapshot.state is not last.state
            or snapshot.elapsed_s - last.elapsed_s >= self._line_interval_s
        )


def _state(snapshot: Snapshot) -> Text:
    colour = _STATE_COLOURS[snapshot.state]
    text = Text(snapshot.state.replace("_", " "), style=f"bold {colour}")
    if snapshot.waiting_for:
        text.append(f"{_SEPARATOR}{snapshot.waiting_for}", style="default not bold")
    return text


def _budget(snapshot: Snapshot) -> RenderableType:
    spent = Text(f"{_spent(snapshot)} rollouts")
    if not snapshot.rollouts_budget:
        return spent
    bar = ProgressBar(
        total=snapshot.rollouts_budget, completed=snapshot.rollouts_used, complete_style="cyan", finished_style="green"
    )
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_row(bar, spent)
    return row


def _spent(snapshot: Snapshot) -> str:
    used = f"{snapshot.rollouts_used:,}"
    if not snapshot.rollouts_budget:
        return used
    return f"{used} of {snapshot.rollouts_budget:,} ({_rate(snapshot.rollouts_used / snapshot.rollouts_budget)})"


def _steps(snapshot: Snapshot) -> str:
    return f"{snapshot.step} of {snapshot.max_steps}" if snapshot.max_steps else str(snapshot.step)


def _weights(snapshot: Snapshot) -> str:
    if snapshot.version is None:
        return "none yet"
    text = f"version {snapshot.version}"
    if snapshot.staleness is None:
        return text
    limit = "" if snapshot.max_staleness is None else f" of at most {snapshot.max_staleness}"
    return f"{text}{_SEPARATOR}staleness {snapshot.staleness:.1f}{limit}"


def _pilots(snapshot: Snapshot) -> Text:
    return Text(_rate(snapshot.pilot_success_rate)).append("  before selection", style="dim")


def _skip_rate(snapshot: Snapshot) -> Text:
    text = Text(_rate(_total_skip_rate(snapshot)))
    for verdict, words, colour in _VERDICT_WORDS:
        if verdict in snapshot.skip_rates:
            text.append(_SEPARATOR, style="dim")
            text.append(f"{verdict} {_rate(snapshot.skip_rates[verdict])}", style=colour)
            text.append(f" {words}", style="dim")
    return text


def _accuracy(snapshot: Snapshot) -> Text:
    latest = snapshot.accuracy or snapshot.first_accuracy
    if latest is None:
        return Text("not measured yet")
    text = Text()
    if snapshot.first_accuracy is not None and snapshot.first_accuracy != latest:
        text.append(f"{snapshot.first_accuracy.estimate:.2f} \N{RIGHTWARDS ARROW} ")
    text.append(f"{latest.estimate:.2f}", style="bold")
    text.append(f"  [{latest.low:.2f}, {latest.high:.2f}]")
    at = "" if snapshot.accuracy_version is None else f" at version {snapshot.accuracy_version}"
    return text.append(f"  {latest.num_rollouts:,} rollouts on {latest.num_prompts:,} prompts{at}", style="dim")


def _server(server: ServerLine) -> Text:
    text = Text("\N{BLACK CIRCLE} ", style="green" if server.ready else "red")
    text.append(server.name, style="default")
    version = "no weights confirmed" if server.version is None else f"version {server.version}"
    return text.append(
        f"{_SEPARATOR}{server.state}{_SEPARATOR}{version}{_SEPARATOR}{server.in_flight} in flight", style="default"
    )


def _times(snapshot: Snapshot) -> str:
    left = left_s(snapshot)
    return _clock(snapshot.elapsed_s) + ("" if left is None else f", about {_clock(left)} left")


def left_s(snapshot: Snapshot) -> float | None:
    """Seconds until budget or steps are spent, at the rate so far; None where that says nothing yet.

    Not before a twentieth is done: a first step waits for servers and for an evaluation.
    """
    shares = [snapshot.rollouts_used / snapshot.rollouts_budget] if snapshot.rollouts_budget else []
    shares += [snapshot.step / snapshot.max_steps] if snapshot.max_steps else []
    done = max(shares, default=0.0)
    is_told = snapshot.state is RunState.RUNNING and snapshot.elapsed_s >= _TOLD_AFTER_S
    if not is_told or not _TOLD_FROM <= done < 1:
        return None
    return snapshot.elapsed_s * (1 - done) / done


def _total_skip_rate(snapshot: Snapshot) -> float | None:
    return sum(snapshot.skip_rates.values()) if snapshot.skip_rates else None


def _rate(rate: float | None) -> str:
    return _DASH if rate is None else f"{rate:.0%}".replace("%", " %")


def _clock(elapsed_s: float) -> str:
    minutes, seconds = divmod(int(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
