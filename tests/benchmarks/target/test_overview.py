"""A run in a line."""

import pytest
from rich.console import Console

from benchmarks.target.overview import overview, reached
from tests.benchmarks.target.records import make_record


def test_the_last_accuracy_is_the_mean_of_three_evaluations() -> None:
    line = reached(make_record((0.4, 0.5, 0.6, 0.55)))
    assert (line.first_accuracy, line.best_accuracy) == (0.4, 0.6)
    assert line.last_accuracy == pytest.approx(0.55)


def test_a_steps_seconds_leave_evaluations_out() -> None:
    line = reached(make_record((0.4, 0.5, 0.6), evaluation_s=30.0))
    assert (line.steps, line.step_s, line.evaluation_minutes) == (2, 10.0, 1.0)


def test_means_are_over_the_steps_that_have_the_number() -> None:
    line = reached(make_record((0.4, 0.5, 0.6)))
    assert (line.grad_norm, line.clipped_rate, line.half_batch_cosine) == (5.0, 1.0, None)


def test_the_table_has_a_row_for_each_run() -> None:
    console = Console(width=160, record=True, quiet=False)
    with console.capture() as capture:
        console.print(overview([reached(make_record(name="adaptive", seed=seed)) for seed in (0, 1)]))
    assert capture.get().count("adaptive") == 2
