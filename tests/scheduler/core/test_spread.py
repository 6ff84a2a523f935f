"""The histogram of informativeness."""

import math

import pytest

from scheduler.core.spread import EDGES, spread


def test_every_prompt_is_at_or_below_the_edges_above_it() -> None:
    at_most = spread([0.0, 0.01, 0.02, 0.25, 7.0], num_prompts=5)
    assert (at_most[0.01], at_most[0.025], at_most[0.225], at_most[0.25], at_most[math.inf]) == (2, 3, 3, 4, 5)
    assert tuple(at_most) == EDGES


def test_those_that_were_drawn_stand_for_all() -> None:
    at_most = spread([0.0, 0.2], num_prompts=1_000_000)
    assert at_most[0.01] == pytest.approx(500_000)
    assert at_most[math.inf] == pytest.approx(1_000_000)


def test_a_table_without_rows_has_no_histogram() -> None:
    assert spread([], num_prompts=0) == {}
