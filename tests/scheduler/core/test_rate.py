"""How often somebody may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.rate import Callers, Rate


def test_a_burst_is_let_through_and_then_one_at_a_time() -> None:
    callers = Callers(Rate(per_s=2.0, burst=3.0))
    assert [callers.admit("a", 0.0) for _ in range(3)] == [0.0] * 3
    assert callers.admit("a", 0.0) == pytest.approx(0.5)
    assert callers.admit("a", 0.5) == 0.0
    assert callers.admit("a", 0.5) == pytest.approx(0.5)


def test_a_refused_request_does_not_count() -> None:
    callers = Callers(Rate(per_s=1.0, burst=1.0))
    callers.admit("a", 0.0)
    assert [callers.admit("a", 0.5) for _ in range(9)] == [0.5] * 9
    assert callers.admit("a", 1.0) == 0.0


def test_one_caller_costs_another_nothing() -> None:
    callers = Callers(Rate(per_s=1.0, burst=1.0))
    assert [callers.admit(name, 0.0) for name in "aba"] == [0.0, 0.0, 1.0]


@given(gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60), per_s=st.floats(0.1, 10), burst=st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate_over_time(gaps: list[float], per_s: float, burst: int) -> None:
    callers, now, passed = Callers(Rate(per_s=per_s, burst=burst)), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if not callers.admit("a", now):
            passed.append(now)
    for index, start in enumerate(passed):
        for later, end in enumerate(passed[index:], start=1):
            assert later <= burst + per_s * (end - start) + 1e-6


@given(per_s=st.floats(0.1, 10), count=st.integers(1, 50))
def test_whoever_keeps_to_the_rate_is_never_refused(per_s: float, count: int) -> None:
    callers = Callers(Rate(per_s=per_s, burst=1.0))
    assert all(callers.admit("a", number / per_s) == 0.0 for number in range(count))


def test_memory_is_bounded_however_many_ask() -> None:
    callers = Callers(Rate(per_s=0.001, burst=1.0))
    for number in range(10_001):
        callers.admit(str(number), 0.0)
    assert callers.admit("10000", 0.0) > 0
    assert callers.admit("0", 0.0) == 0.0, "forgotten"
