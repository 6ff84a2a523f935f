"""How informative the prompts of a run are: every row in one bin."""

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.histogram import MOST_BINARY, NUM_BINS, informativeness_histogram
from scheduler.core.informativeness import Belief, Evidence, RewardMoments
from scheduler.core.types import Verdict
from tests.scheduler.core.factories import make_evidence

BELIEFS = st.tuples(st.floats(0.01, 1000), st.floats(0.01, 1000))


def _believed(a: float, b: float) -> Evidence:
    return replace(make_evidence(), belief=Belief(a=a, b=b, version=0))


@given(st.lists(BELIEFS))
def test_every_row_is_in_the_bin_that_has_its_informativeness(pairs: list[tuple[float, float]]) -> None:
    rows = [_believed(a, b) for a, b in pairs]
    bins = informativeness_histogram(rows)
    assert sum(sum(found.counts.values()) for found in bins) == len(rows)
    for row in rows:
        [found] = [place for place, each in enumerate(informativeness_histogram([row])) if each.counts]
        assert bins[found].low - 1e-9 <= row.informativeness < bins[found].high + 1e-9


def test_bins_follow_each_other_from_nothing_to_the_most_a_binary_reward_can_teach() -> None:
    bins = informativeness_histogram([])
    assert (len(bins), bins[0].low, bins[-1].high) == (NUM_BINS, 0.0, MOST_BINARY)
    assert all(one.high == other.low for one, other in itertools.pairwise(bins))


def test_rows_are_told_apart_by_their_last_verdict() -> None:
    verdicts = ((), (Verdict.SKIP, Verdict.DEFER), (Verdict.DEFER,))
    rows = [make_evidence(verdicts=found) for found in verdicts]
    [found] = [each.counts for each in informativeness_histogram(rows) if each.counts]
    assert found == {"none": 1, "defer": 2}


def test_a_graded_reward_that_varies_more_than_any_binary_one_is_in_the_last_bin() -> None:
    row = replace(make_evidence(), graded=True, moments=RewardMoments(weight=4.0, m2=40.0))
    assert row.informativeness > MOST_BINARY
    assert informativeness_histogram([row])[-1].counts == {"none": 1}
