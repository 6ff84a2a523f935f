"""Skip rates and the pilots' success rate, from the ledger's counters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.spend import (
    NOT_COMMITTED,
    considered,
    first_visit_counter,
    first_visits,
    passed_over,
    pilot_success_rate,
    revisit_counter,
    signal,
    skip_rates,
    verdicts,
    visits_judged,
)
from scheduler.core.types import Verdict


def test_nothing_considered_has_no_skip_rate() -> None:
    assert considered({}) == 0
    assert skip_rates({}) == {}


def test_a_prompt_passed_over_by_its_history_counts_as_a_piloted_one_does() -> None:
    counters = {"considered": 8, "verdict:skip": 2, "passed_over:skip": 1, "verdict:evict": 1, "verdict:commit": 3}
    assert skip_rates(counters) == {Verdict.SKIP: 3 / 8, Verdict.DEFER: 0.0, Verdict.EVICT: 1 / 8}


def test_piloted_and_passed_over_are_told_apart() -> None:
    counters = {"verdict:skip": 2, "passed_over:skip": 1}
    assert visits_judged(counters, Verdict.SKIP) == 2
    assert passed_over(counters, Verdict.SKIP) == 1


def test_open_and_interrupted_visits_are_considered_without_being_skipped() -> None:
    counters = {"considered": 4, "verdict:incomplete": 1, "verdict:quarantined": 1, "verdict:defer": 1}
    assert sum(skip_rates(counters).values()) == 1 / 4


def test_a_committed_prompt_is_in_no_skip_rate() -> None:
    assert Verdict.COMMIT not in NOT_COMMITTED
    assert set(NOT_COMMITTED) | {Verdict.COMMIT} == set(Verdict)


@given(
    ends=st.dictionaries(st.sampled_from([f"verdict:{verdict}" for verdict in Verdict]), st.integers(0, 99)),
    passed=st.dictionaries(st.sampled_from([f"passed_over:{verdict}" for verdict in NOT_COMMITTED]), st.integers(0, 9)),
    still_open=st.integers(1, 9),
)
def test_skip_rates_and_what_is_not_skipped_make_one(
    ends: dict[str, int], passed: dict[str, int], still_open: int
) -> None:
    total = sum(ends.values()) + sum(passed.values()) + still_open
    not_skipped = ends.get("verdict:commit", 0) + still_open
    rates = skip_rates({**ends, **passed, "considered": total})
    assert sum(rates.values()) + not_skipped / total == pytest.approx(1.0)


def test_no_pilot_judged_has_no_success_rate() -> None:
    assert pilot_success_rate({"pilots:correct": 0}) is None


def test_the_pilot_success_rate_is_over_judged_pilots() -> None:
    assert pilot_success_rate({"pilots:judged": 8, "pilots:correct": 6}) == 0.75


def test_first_visits_come_back_from_their_counters_as_often_as_they_were_made() -> None:
    counters = {first_visit_counter(3, 8): 2, first_visit_counter(0, 4): 1, "considered": 9}
    assert first_visits(counters) == {(3, 8): 2, (0, 4): 1}
    assert first_visits({}) == {}


def test_revisits_are_counted_apart_by_the_verdict_before_and_the_new_one() -> None:
    names = {revisit_counter(before, verdict) for before in Verdict for verdict in Verdict}
    assert len(names) == len(Verdict) ** 2
    assert revisit_counter(Verdict.SKIP, Verdict.COMMIT) == "revisits:skip:commit"


def test_signal_is_counted_in_thousandths() -> None:
    assert signal({"signal:milli": 4125}) == 4.125
    assert signal({}) == 0.0


def test_verdicts_of_history_alone_count_among_the_verdicts() -> None:
    found = verdicts({"verdict:skip": 2, "passed_over:skip": 1, "verdict:commit": 3})
    assert found == {Verdict.COMMIT: 3, Verdict.SKIP: 3, Verdict.DEFER: 0, Verdict.EVICT: 0}
