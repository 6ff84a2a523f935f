"""Targets: shares of GRPO's gain, fixed once."""

from pathlib import Path

import pytest

from benchmarks.target.targets import Targets, fix, load, targets_of
from scheduler.core.errors import Conflict, InvalidInput
from tests.benchmarks.target.records import make_record


def test_targets_are_shares_of_the_gain_on_the_mean_smoothed_curve() -> None:
    targets = targets_of([make_record((0.4, 0.6, 0.6, 0.6), seed=seed) for seed in (0, 1)])
    assert (targets.start, targets.end, targets.seeds) == (0.4, 0.6, (0, 1))
    assert targets.accuracy == pytest.approx({"80": 0.56, "90": 0.58, "95": 0.59})
    assert targets.highest == pytest.approx(0.59)


def test_a_decline_after_the_best_point_does_not_lower_the_targets() -> None:
    assert targets_of([make_record((0.4, 0.6, 0.6, 0.6, 0.5, 0.4, 0.4))]).end == pytest.approx(0.6, abs=1e-3)


def test_there_are_no_targets_where_grpo_gained_nothing() -> None:
    with pytest.raises(InvalidInput, match="gained nothing"):
        targets_of([make_record((0.4, 0.3, 0.3))])


def test_there_are_no_targets_without_a_run_of_grpo() -> None:
    with pytest.raises(InvalidInput, match="no runs"):
        targets_of([])


def test_fixed_targets_are_replaced_only_when_forced(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    first, second = (Targets(start=0.4, end=end, seeds=(0,), accuracy={"80": end}) for end in (0.5, 0.6))
    fix("headline", first, path)
    fix("headline", first, path)
    fix("flat", second, path)
    with pytest.raises(Conflict):
        fix("headline", second, path)
    assert load(path) == {"headline": first, "flat": second}
    fix("headline", second, path, force=True)
    assert load(path)["headline"] == second


def test_there_are_no_targets_before_any_are_fixed(tmp_path: Path) -> None:
    assert load(tmp_path / "targets.json") == {}
