"""How numbers and moments are written."""

import pytest

from scheduler.cli import words
from scheduler.core.lifecycle import PromptState, RunState


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.9, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (3 * 86400 + 7200 + 59, "3 d 2 h")],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, written: str) -> None:
    assert words.duration(seconds) == written


def test_an_age_is_written_in_its_largest_unit() -> None:
    assert words.age(0.0, 3.0) == "3 s"
    assert words.age(0.0, 7260.0) == "2 h"


def test_a_clock_that_runs_ahead_of_ours_gives_no_negative_age() -> None:
    assert words.ago(10.0, 3.0) == "0 s ago"
    assert words.age(10.0, 3.0) == "0 s"


def test_what_is_not_known_yet_is_a_dash() -> None:
    assert words.rate(None) == words.accuracy(None) == words.version(None) == words.version(0) == words.DASH


def test_rates_and_accuracies_are_in_per_cent() -> None:
    assert words.rate(0.254) == "25 %"
    assert words.accuracy(0.625) == "62.5 %"


def test_a_limit_is_named_where_there_is_one() -> None:
    assert words.of_limit(1200, None) == "1,200"
    assert words.of_limit(1200, 5000) == "1,200 of 5,000"


def test_zeros_stand_back() -> None:
    assert words.count(0).plain == words.DOT
    assert words.count(1234).plain == "1,234"


def test_every_state_has_its_colour() -> None:
    assert [words.run_state(state).plain for state in RunState] == [state.replace("_", " ") for state in RunState]
    assert [words.prompt_state(state).plain for state in PromptState] == list(PromptState)
