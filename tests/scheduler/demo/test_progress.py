"""The live display of a run."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from scheduler.core.lifecycle import RunState
from scheduler.core.types import Verdict
from scheduler.demo.progress import ProgressDisplay, ServerLine, Snapshot, left_s, render, render_line
from tests.scheduler.demo.values import make_accuracy

EMPTY = Snapshot(title="a run", elapsed_s=3, state=RunState.WAITING_WEIGHTS)
FULL = Snapshot(
    title="a run",
    elapsed_s=3912,
    state=RunState.RUNNING,
    waiting_for="3 of 8 groups",
    rollouts_used=1843,
    rollouts_budget=3120,
    step=14,
    max_steps=30,
    skip_rates={Verdict.SKIP: 0.12, Verdict.DEFER: 0.31, Verdict.EVICT: 0.06},
    pilot_success_rate=0.47,
    first_accuracy=make_accuracy(0.42),
    accuracy=make_accuracy(0.61),
    accuracy_version=12,
    version=15,
    staleness=0.8,
    max_staleness=2,
    servers=(
        ServerLine(name="first", state="healthy", ready=True, in_flight=24, version=15),
        ServerLine(name="second", state="stale", ready=False),
    ),
)


def _text(snapshot: Snapshot, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(render(snapshot))
    return console.export_text()


@pytest.mark.parametrize(
    "fact",
    [
        "running  ·  3 of 8 groups",
        "1,843 of 3,120 (59 %) rollouts",
        "14 of 30",
        "version 15  ·  staleness 0.8 of at most 2",
        "47 %  before selection",
        "49 %  ·  skip 12 % too easy  ·  defer 31 % too hard  ·  evict 6 % solved",
        "0.42 → 0.61  [0.56, 0.66]  512 rollouts on 128 prompts at version 12",
        "first  ·  healthy  ·  version 15  ·  24 in flight",
        "second  ·  stale  ·  no weights confirmed",
        "1:05:12",
    ],
)
def test_every_fact_is_on_one_line_of_a_hundred_columns(fact: str) -> None:
    assert any(fact in line for line in _text(FULL).splitlines())


@pytest.mark.parametrize("snapshot", [EMPTY, FULL])
@pytest.mark.parametrize("width", [70, 100, 200])
def test_no_line_is_wider_than_the_terminal(snapshot: Snapshot, width: int) -> None:
    assert max(map(len, _text(snapshot, width).splitlines())) <= width


def test_what_is_not_known_yet_is_said_to_be_unknown() -> None:
    text = _text(EMPTY)
    assert "waiting weights" in text
    assert "none yet" in text
    assert "not measured yet" in text
    assert "0 %" not in text


def test_an_accuracy_measured_once_is_not_shown_as_a_gain() -> None:
    text = _text(replace(EMPTY, first_accuracy=make_accuracy(0.42)))
    assert "0.42  [0.37, 0.47]" in text
    assert "→" not in text


def test_a_title_is_never_read_as_markup() -> None:
    assert "[red]run[/]" in _text(replace(EMPTY, title="[red]run[/]", waiting_for="[bold]"))


def test_a_plain_line_has_the_main_facts() -> None:
    line = render_line(FULL)
    assert "\n" not in line
    for fact in ("1:05:12", "running", "step 14 of 30", "1,843 of 3,120", "skip rate 49 %", "0.42 → 0.61"):
        assert fact in line


def test_off_a_terminal_a_line_comes_at_first_when_due_and_when_the_state_changes() -> None:
    out = io.StringIO()
    with ProgressDisplay(Console(file=out, width=60), line_interval_s=10) as display:
        for elapsed_s in (0, 4, 9, 10, 19):
            display.show(replace(FULL, elapsed_s=elapsed_s))
        display.show(replace(FULL, elapsed_s=19.5, state=RunState.DRAINING))
    lines = out.getvalue().splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["0:00", "0:10, about 0:06 left", "0:19"]
    assert "draining" in lines[-1]


def test_on_a_terminal_the_panel_is_redrawn_in_place_and_left_behind() -> None:
    out = io.StringIO()
    with ProgressDisplay(Console(file=out, width=100, force_terminal=True)) as display:
        display.show(EMPTY)
        display.show(FULL)
    drawn = out.getvalue()
    assert "\x1b[1A" in drawn
    assert drawn.rindex("running") > drawn.rindex("waiting weights")
    assert "\x1b[?25h" in drawn, "the cursor is shown again"


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"rollouts_used": 250, "rollouts_budget": 1000}, 300.0),
        ({"rollouts_used": 250, "rollouts_budget": 1000, "step": 5, "max_steps": 10}, 100.0),
        ({"step": 1, "max_steps": 4}, 300.0),
        ({"rollouts_used": 10, "rollouts_budget": 1000}, None),
        ({"rollouts_used": 1000, "rollouts_budget": 1000}, None),
        ({"rollouts_used": 250}, None),
        ({"rollouts_used": 250, "rollouts_budget": 1000, "state": RunState.PAUSED}, None),
    ],
)
def test_the_time_left_is_that_of_what_will_be_spent_first(changes: dict[str, object], seconds: float | None) -> None:
    snapshot = replace(Snapshot(title="t", elapsed_s=100.0, state=RunState.RUNNING), **changes)  # type: ignore[arg-type]
    assert left_s(snapshot) == seconds
    told = "left" in render_line(snapshot)
    assert told is (seconds is not None)
