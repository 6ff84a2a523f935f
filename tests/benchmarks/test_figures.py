"""Figures, and whether they reach their targets."""

from pathlib import Path

import pytest

from benchmarks.figures import Figure, Report, Sense, read
from scheduler.core.errors import NotFound

FAST = Figure(what="rate", value=0.85, target=0.8, note="a bare loop")
SLOW = Figure(what="latency", value=1234.5, unit="ms", target=10.0, sense=Sense.AT_MOST)
PLAIN = Figure(what="size", value=41.25, unit="bytes")


@pytest.mark.parametrize(("figure", "reached"), [(FAST, True), (SLOW, False), (PLAIN, None)])
def test_a_figure_reaches_its_target_or_has_none(figure: Figure, reached: bool | None) -> None:
    assert figure.is_reached is reached


def test_a_report_is_read_as_it_was_written_and_says_where_it_is_from(tmp_path: Path) -> None:
    report = Report.of("table", [FAST, SLOW, PLAIN], {"claim ms": [1.0, 2.0]}, seconds=1.23)
    report.write(tmp_path)
    assert read("table", tmp_path) == report
    text = report.markdown()
    assert "| rate | 0.85 | \N{GREATER-THAN OR EQUAL TO} 0.8 | reached | a bare loop |" in text
    assert "| latency | 1,234 ms | \N{LESS-THAN OR EQUAL TO} 10 ms | **missed** |  |" in text
    assert "| size | 41.2 bytes | \N{EN DASH} |  |  |" in text
    assert f"commit `{report.commit[:10]}`" in text


def test_a_benchmark_that_was_never_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"python -m benchmarks\.table"):
        read("table", tmp_path)
