"""Figures of the comparison with TRL."""

import pytest

from benchmarks.end_to_end.findings import findings
from benchmarks.end_to_end.lines import Generated
from benchmarks.end_to_end.parts import parts_of
from benchmarks.end_to_end.picture import draw
from benchmarks.figures import Figure, Report
from benchmarks.target.record import Record
from benchmarks.target.targets import Targets
from tests.benchmarks.end_to_end.records import make_ours, make_trl

TARGETS = Targets(start=0.3, end=0.5, seeds=(0,), accuracy={"80": 0.46, "90": 0.48})


def _figures(*records: Record) -> dict[str, Figure]:
    figures, _ = findings(records, [Generated(generator="generate", rollouts=64, tokens=300, seconds=10.0)], TARGETS)
    return {figure.what: figure for figure in figures}


def _headline(*records: Record) -> Figure:
    return _figures(*records)["TRL's wall-clock over that of grpo, to 90 % of GRPO's gain (0.480)"]


def test_the_headline_is_the_ratio_of_the_times_to_the_target() -> None:
    figure = _headline(make_trl(0.3, 0.4, 0.5, 0.5), make_ours(0.3, 0.4, 0.5, 0.5))
    assert figure.value == pytest.approx(3.0)
    assert figure.is_reached


def test_a_run_of_trl_that_does_not_get_there_is_a_bound_from_below() -> None:
    figure = _headline(make_trl(0.3, 0.3, 0.3, 0.3), make_ours(0.3, 0.4, 0.5, 0.5))
    assert "at least" in figure.note
    assert figure.is_reached


def test_where_ours_does_not_get_there_nothing_is_claimed() -> None:
    figure = _headline(make_trl(0.3, 0.4, 0.5, 0.5), make_ours(0.3, 0.3, 0.3, 0.3))
    assert figure.is_reached is None
    assert "at most" in figure.note


def test_our_evaluations_can_be_put_on_the_clock() -> None:
    figures = _figures(make_trl(0.3, 0.4, 0.5, 0.5), make_ours(0.3, 0.4, 0.5, 0.5, evaluation_s=5.0))
    counted = next(figure for what, figure in figures.items() if "evaluations on the clock" in what)
    assert counted.value == pytest.approx(2.0)


def test_the_limit_of_any_generator_is_shown() -> None:
    figures = _figures(make_trl(0.3, 0.4, 0.5, 0.5), make_ours(0.3, 0.4, 0.5, 0.5))
    limit = next(figure for what, figure in figures.items() if "no time" in what)
    assert limit.value == pytest.approx(2.0)


def test_one_side_alone_has_no_ratio() -> None:
    assert not any("wall-clock" in what for what in _figures(make_ours(0.3, 0.5)))


def test_the_parts_of_a_step_add_up_to_it() -> None:
    ours, peer = parts_of(make_ours(0.3, 0.4, evaluation_s=2.0)), parts_of(make_trl(0.3, 0.4))
    assert ours is not None
    assert peer is not None
    assert ours.one_after_another == {"learning": 4.0, "publish": 1.0, "evaluation": 2.0, "waiting for groups": 5.0}
    assert ours.beside == {"push": 0.5, "generation": 8.0, "scheduler": 0.25}
    assert peer.one_after_another == {"generation": 10.0, "learning": 15.0, "evaluation": 0.0, "rest": 5.0}


def test_the_picture_has_every_run_in_both_panels() -> None:
    figures, raw = findings([make_trl(0.3, 0.4), make_ours(0.3, 0.4)], [], TARGETS)
    curves, steps = draw(Report.of("end_to_end", figures, raw, seconds=1.0)).axes
    assert len(curves.get_lines()) == 3
    assert [label.get_text() for label in steps.get_yticklabels()] == ["grpo/0", "trl/0"]
