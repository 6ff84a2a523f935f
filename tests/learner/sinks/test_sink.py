"""A sink that fails, or hangs, is told of once and stops nothing."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from learner.sinks.sink import Sinks


@dataclass
class Noting:
    """Keeps what it is given; fails at a step, or when it is closed, or waits for leave."""

    name: str = "noting"
    fails_at: int | None = None
    fails_to_close: bool = False
    leave: threading.Event | None = None
    written: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    num_closed: int = 0

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        if self.leave is not None:
            self.leave.wait()
        if step == self.fails_at:
            raise OSError("no space left on device")
        self.written.append((step, dict(numbers)))

    def close(self) -> None:
        self.num_closed += 1
        if self.fails_to_close:
            raise RuntimeError("the service is gone")


def _written_by(sinks: Sinks, *, steps: int = 3) -> list[str]:
    """What was logged while so many steps were written and the sinks closed."""
    with capture_logs() as logs:
        for step in range(1, steps + 1):
            sinks.write({"loss": float(step)}, step=step)
        sinks.close()
    return [f"{entry['sink']}: {entry['reason']}" for entry in logs if entry["event"] == "sink_failed"]


def test_every_step_is_written_before_a_close_returns() -> None:
    one, other = Noting(), Noting()
    assert _written_by(Sinks([one, other])) == []
    assert one.written == other.written == [(step, {"loss": float(step)}) for step in (1, 2, 3)]
    assert one.num_closed == other.num_closed == 1


def test_a_sink_that_fails_is_told_of_once_and_the_others_go_on() -> None:
    bad, good = Noting(name="bad", fails_at=2), Noting()
    assert _written_by(Sinks([bad, good]), steps=5) == ["bad: OSError: no space left on device"]
    assert [step for step, _ in bad.written] == [1]
    assert [step for step, _ in good.written] == [1, 2, 3, 4, 5]
    assert bad.num_closed == 1, "what it wrote so far is kept"


def test_a_sink_that_fails_to_close_is_told_of() -> None:
    assert _written_by(Sinks([Noting(fails_to_close=True)])) == ["noting: RuntimeError: the service is gone"]


def test_without_a_sink_nothing_is_kept_and_nothing_runs() -> None:
    sinks = Sinks()
    assert not sinks
    assert _written_by(sinks) == []


@pytest.mark.parametrize("steps", [1, 1500])
def test_a_sink_that_hangs_holds_up_neither_a_step_nor_the_end(steps: int) -> None:
    leave = threading.Event()
    hanging = Noting(leave=leave)
    found = _written_by(Sinks([hanging], patience_s=0.0), steps=steps)
    leave.set()
    too_slow = ["noting: 1000 steps wait to be written"] if steps > 1000 else []
    assert found == [*too_slow, "noting: it is not done after 0 s"]
