"""The ideal that the benchmark of shared prompts is held against."""

import pytest

from benchmarks.shared_prompts.measure import COMPLETION, Point, points_of


def test_the_ideal_is_the_ratio_of_tokens() -> None:
    point = Point(rollouts=8, prompt=COMPLETION, plain_s=3.0, shared_s=1.5)
    assert point.speed_up == 2.0
    # Sixteen times as many tokens as a completion has, against nine.
    assert point.ideal == pytest.approx(16 / 9)


def test_points_are_read_back_from_a_report() -> None:
    raw = {"rollouts": [8.0], "prompt tokens": [32.0], "plain s": [2.0], "shared s": [1.0]}
    assert points_of(raw) == [Point(rollouts=8, prompt=32, plain_s=2.0, shared_s=1.0)]
