"""Figures of a push are ratios of medians, each beside what cannot be left out."""

import pytest

from benchmarks.figures import Figure, Report
from benchmarks.push.measure import figures
from benchmarks.push.picture import draw

MIB = 1 << 20
RAW = {
    "copy s": [1.0, 0.5, 0.5],
    "bare broadcast s": [0.4, 0.5, 9.0],
    "push s": [0.4, 0.3, 0.4],
    "push by broadcast s": [0.7, 0.8, 0.9],
    "bare load s": [0.2, 0.2, 0.3],
    "checksum s": [0.15, 0.1, 0.2],
}


def _figure(what: str) -> Figure:
    return {figure.what: figure for figure in figures(RAW, size=200 * MIB)}[what]


@pytest.mark.parametrize(
    ("what", "value", "is_reached", "note"),
    [
        ("push against a bare copy of the file", 0.8, True, "500 against 400 MiB/s"),
        (
            "push by broadcast against a bare broadcast",
            1.6,
            False,
            "250 against 400 MiB/s; 0.80 s from closed to open",
        ),
        (
            "push against the bare load",
            2.0,
            False,
            "0.40 s from closed to open against 0.20 s; the server's checksum alone takes 0.15 s",
        ),
    ],
)
def test_a_push_is_measured_against_its_own_bare_way(what: str, value: float, is_reached: bool, note: str) -> None:
    figure = _figure(what)
    assert figure.value == pytest.approx(value)
    assert figure.is_reached is is_reached
    assert figure.note == note


def test_the_picture_has_a_bar_for_every_sample() -> None:
    report = Report.of("push", figures(RAW, size=MIB), RAW, seconds=1.0)
    [axes] = draw(report).axes
    assert len(axes.get_yticklabels()) == len(RAW)
