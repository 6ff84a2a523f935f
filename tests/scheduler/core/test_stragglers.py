"""When an attempt is a straggler."""

import pytest

from scheduler.core.stragglers import patience_s


@pytest.mark.parametrize(("num_back", "num_wanted"), [(0, 1), (0, 8), (5, 8), (2, 3)])
def test_nothing_is_a_straggler_before_the_share_is_back(num_back: int, num_wanted: int) -> None:
    assert patience_s([1.0] * num_back, num_wanted, share=0.75, factor=3.0) is None


def test_the_only_attempt_is_never_one() -> None:
    assert patience_s([], 1, share=0.01, factor=2.0) is None


def test_the_rest_may_take_so_many_times_the_median() -> None:
    assert patience_s([1.0, 2.0, 9.0], 4, share=0.75, factor=3.0) == 6.0
    assert patience_s([1.0, 2.0, 3.0, 9.0], 5, share=0.75, factor=2.0) == 5.0
