"""Beliefs, reward moments and the rows of the informativeness table."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.core.informativeness import Belief, Evidence, PilotCount, RewardMoments, discount_factor
from scheduler.core.prior import Prior
from scheduler.core.types import Rollout, Stage, Verdict
from tests.factories import make_rollout
from tests.scheduler.core.factories import make_evidence, make_rollouts

shapes = st.floats(0.05, 1000)
beliefs = st.builds(Belief, a=shapes, b=shapes, version=st.integers(0, 100))
priors = st.builds(Prior, a0=shapes, b0=shapes)
discounts = st.floats(0.01, 1.0)
rewards = st.floats(-100, 100)
rollouts = st.lists(
    st.builds(
        make_rollout,
        reward=rewards,
        correct=st.booleans(),
        stage=st.sampled_from([Stage.PILOT, Stage.COMMIT]),
        token_ids=st.lists(st.integers(0, 9), min_size=1, max_size=5).map(tuple),
    ),
    max_size=12,
)
verdicts = st.sampled_from(Verdict)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """The row after any history of visits."""
    evidence = Evidence.fresh(draw(priors), version=0)
    for visit in draw(st.lists(rollouts, max_size=4)):
        evidence = evidence.observed(
            visit, version=evidence.belief.version + draw(st.integers(0, 5)), prior=Prior(), discount=draw(discounts)
        )
        evidence = evidence.judged(draw(verdicts), draw(st.text(max_size=5)))
    return evidence


def rising_ratio(a: float, total: float, n: int) -> float:
    """B(a + n, b) / B(a, b) as the product of (a + i) / (a + b + i): P(n rollouts all go one way)."""
    return math.prod((a + i) / (total + i) for i in range(n))


# The Beta


@given(priors, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), max_size=8), discounts)
def test_the_posterior_stays_in_range(prior: Prior, visits: list[tuple[int, int, int]], discount: float) -> None:
    belief = Belief.fresh(prior, version=0)
    for successes, failures, versions in visits:
        belief = belief.aged(belief.version + versions, prior, discount).updated(successes, failures)
        assert belief.a >= prior.a0 * (1 - 1e-9)
        assert belief.b >= prior.b0 * (1 - 1e-9)
        assert 0 < belief.mean < 1
        assert 0 < belief.expected_variance <= 0.25


def test_evidence_decays_by_the_discount_to_the_power_of_versions() -> None:
    belief = Belief(a=9.0, b=5.0, version=3).aged(5, Prior(a0=1.0, b0=2.0), 0.5)
    assert belief == Belief(a=0.25 * 9 + 0.75 * 1, b=0.25 * 5 + 0.75 * 2, version=5)


@given(beliefs, priors, discounts, st.integers(0, 30), st.integers(0, 30))
def test_ageing_in_two_steps_is_ageing_in_one(
    belief: Belief, prior: Prior, discount: float, first: int, second: int
) -> None:
    stepwise = belief.aged(belief.version + first, prior, discount).aged(
        belief.version + first + second, prior, discount
    )
    at_once = belief.aged(belief.version + first + second, prior, discount)
    assert (stepwise.a, stepwise.b) == pytest.approx((at_once.a, at_once.b))


def test_a_belief_left_alone_returns_to_the_prior() -> None:
    aged = Belief(a=50.0, b=1.0, version=0).aged(1000, Prior(a0=0.3, b0=0.7), 0.9)
    assert (aged.a, aged.b) == pytest.approx((0.3, 0.7))


@given(beliefs, priors)
def test_a_late_report_neither_ages_a_belief_nor_turns_its_version_back(belief: Belief, prior: Prior) -> None:
    assert belief.aged(belief.version - 1, prior, 0.5) == belief


@pytest.mark.parametrize("discount", [0.0, -0.5, 1.01, math.nan])
def test_a_discount_outside_its_range_is_refused(discount: float) -> None:
    with pytest.raises(InvalidInput, match=r"\(0, 1\]"):
        discount_factor(discount, 1)


@pytest.mark.parametrize(("successes", "failures"), [(-1, 0), (0, -1)])
def test_a_negative_count_is_refused(successes: int, failures: int) -> None:
    with pytest.raises(InvalidInput, match="not negative"):
        Belief(a=1.0, b=1.0, version=0).updated(successes, failures)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.2, 0.3), (7.0, 2.5)])
def test_closed_forms_match_monte_carlo(a: float, b: float) -> None:
    rng = np.random.default_rng(11)
    p = rng.beta(a, b, 200_000)
    k = rng.binomial(16, p)
    belief = Belief(a=a, b=b, version=0)
    assert belief.mean == pytest.approx(p.mean(), abs=4e-3)
    assert belief.expected_variance == pytest.approx((p * (1 - p)).mean(), abs=2e-3)
    assert belief.mixed_probability(16) == pytest.approx(((k > 0) & (k < 16)).mean(), abs=4e-3)
    assert belief.band_probability(16, 2, 12) == pytest.approx(((k >= 2) & (k <= 12)).mean(), abs=4e-3)


@given(beliefs, st.integers(1, 64))
def test_the_mixed_probability_matches_brute_force(belief: Belief, n: int) -> None:
    total = belief.a + belief.b
    brute_force = 1 - rising_ratio(belief.a, total, n) - rising_ratio(belief.b, total, n)
    assert belief.mixed_probability(n) == pytest.approx(brute_force, abs=1e-9)


@given(beliefs, st.integers(-1, 1))
def test_fewer_than_two_rollouts_are_never_mixed(belief: Belief, n: int) -> None:
    assert belief.mixed_probability(n) == 0.0


@given(beliefs)
def test_the_mixed_probability_is_a_probability_that_grows_ever_more_slowly(belief: Belief) -> None:
    values = [belief.mixed_probability(n) for n in range(1, 80)]
    gains = np.diff(values)
    assert all(0.0 <= value <= 1.0 for value in values)
    assert (gains >= -1e-10).all()
    assert (np.diff(gains) <= 1e-9).all()


@given(beliefs, st.integers(1, 48), st.data())
def test_band_probabilities_over_a_partition_sum_to_one(belief: Belief, m: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, m), max_size=5)))
    edges = [0, *cuts, m + 1]
    bands = [belief.band_probability(m, low, high - 1) for low, high in itertools.pairwise(edges)]
    assert all(0.0 <= band <= 1.0 for band in bands)
    assert math.fsum(bands) == pytest.approx(1.0, abs=1e-9)


@given(beliefs, st.integers(2, 48))
def test_a_mixed_group_is_the_band_between_none_and_all(belief: Belief, n: int) -> None:
    assert belief.band_probability(n, 1, n - 1) == pytest.approx(belief.mixed_probability(n), abs=1e-9)


@given(beliefs, st.integers(1, 16))
def test_a_band_is_cut_to_what_is_possible(belief: Belief, m: int) -> None:
    assert belief.band_probability(m, -5, m + 5) == pytest.approx(1.0)
    assert belief.band_probability(m, m + 1, m + 5) == 0.0
    assert belief.band_probability(m, 3, 2) == 0.0


def test_a_flat_belief_expects_every_count_alike() -> None:
    belief = Belief(a=1.0, b=1.0, version=0)
    assert [belief.band_probability(4, k, k) for k in range(5)] == pytest.approx([0.2] * 5)


# Moments of the reward


@given(st.lists(st.lists(rewards, max_size=6), min_size=1, max_size=6))
def test_undiscounted_moments_are_those_of_all_rewards(visits: list[list[float]]) -> None:
    moments = RewardMoments()
    for visit in visits:
        moments = moments.updated(visit)
    flat = [reward for visit in visits for reward in visit]
    assert moments.weight == len(flat)
    assert moments.mean == pytest.approx(np.mean(flat) if flat else 0.0, abs=1e-9)
    assert moments.variance == pytest.approx(np.var(flat) if flat else 0.0, abs=1e-6)


def test_ageing_halves_the_weight_of_old_rewards_and_keeps_their_moments() -> None:
    moments = RewardMoments(version=1).updated([0.0, 2.0])
    aged = moments.aged(2, 0.5)
    assert (aged.weight, aged.mean, aged.variance, aged.version) == (1.0, 1.0, 1.0, 2)
    assert aged.updated([4.0]).mean == pytest.approx((0.5 * 0 + 0.5 * 2 + 4) / 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_moments_refuse_a_reward_that_is_not_finite(bad: float) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        RewardMoments().updated([1.0, bad])


# Rows of the table


def test_pilots_and_commits_both_feed_the_belief() -> None:
    visit = [*make_rollouts(1, 4), *make_rollouts(5, 6, Stage.COMMIT)]
    evidence = Evidence.fresh(Prior(), version=2).observed(visit, version=2, prior=Prior(), discount=1.0)
    assert evidence.belief == Belief(a=1.0 + 6, b=1.0 + 4, version=2)
    assert evidence.last_pilot == PilotCount(successes=1, count=4, version=2)
    assert (evidence.num_pilots, evidence.num_commits, evidence.num_rollouts) == (4, 6, 10)


def test_a_visit_without_pilots_keeps_the_last_pilot() -> None:
    first = Evidence.fresh(Prior(), version=0).observed(make_rollouts(1, 4), version=0, prior=Prior(), discount=1.0)
    second = first.observed(make_rollouts(2, 2, Stage.COMMIT), version=1, prior=Prior(), discount=1.0)
    assert second.last_pilot == first.last_pilot


def test_a_row_is_brought_up_to_the_version_before_new_rollouts_count() -> None:
    first = Evidence.fresh(Prior(), version=0).observed(make_rollouts(4, 4), version=0, prior=Prior(), discount=0.5)
    second = first.observed(make_rollouts(0, 1), version=1, prior=Prior(), discount=0.5)
    assert second.belief == Belief(a=0.5 * 5 + 0.5, b=0.5 + 0.5 + 1, version=1)
    assert second.moments.weight == 0.5 * 4 + 1


def test_tokens_per_rollout_is_a_discounted_mean_of_generated_tokens() -> None:
    short = [make_rollout(token_ids=(1,) * 2), make_rollout(token_ids=(1,) * 4)]
    long = [make_rollout(token_ids=(1,) * 10)]
    first = Evidence.fresh(Prior(), version=0).observed(short, version=0, prior=Prior(), discount=0.5)
    assert first.tokens_per_rollout == 3.0
    second = first.observed(long, version=1, prior=Prior(), discount=0.5)
    assert second.tokens_per_rollout == (1 * 3 + 10) / 2


@given(evidences(), st.integers(0, 10))
def test_without_rollouts_a_row_only_ages(evidence: Evidence, versions: int) -> None:
    version = evidence.belief.version + versions
    aged = evidence.observed([], version=version, prior=Prior(), discount=0.9)
    faded = evidence.belief.aged(version, Prior(), 0.9)
    assert aged.belief == (faded if evidence.num_rollouts else Belief.fresh(Prior(), version))
    assert (aged.visits, aged.last_pilot, aged.tokens_per_rollout) == (
        evidence.visits,
        evidence.last_pilot,
        evidence.tokens_per_rollout,
    )


@given(evidences())
def test_informativeness_is_never_negative(evidence: Evidence) -> None:
    assert evidence.informativeness >= 0.0


def test_informativeness_of_right_or_wrong_rewards_is_the_expected_variance() -> None:
    evidence = Evidence.fresh(Prior(), version=0).observed(make_rollouts(2, 4), version=0, prior=Prior(), discount=1.0)
    assert not evidence.graded
    assert evidence.informativeness == evidence.belief.expected_variance


@given(st.lists(rewards, min_size=40, max_size=60))
def test_informativeness_of_graded_rewards_is_their_variance(values: list[float]) -> None:
    visit = [make_rollout(reward=value, correct=False) for value in [*values, 0.5]]
    evidence = Evidence.fresh(Prior(), version=0).observed(visit, version=0, prior=Prior(), discount=1.0)
    assert evidence.graded
    assert evidence.informativeness == pytest.approx(np.var([*values, 0.5]), abs=0.01)


def test_one_graded_reward_does_not_read_as_no_variance() -> None:
    visit = [make_rollout(reward=0.5)]
    evidence = Evidence.fresh(Prior(), version=0).observed(visit, version=0, prior=Prior(), discount=1.0)
    assert evidence.informativeness == evidence.belief.expected_variance


@pytest.mark.parametrize(
    ("history", "streak"),
    [
        ((), 0),
        ((Verdict.SKIP,), 1),
        ((Verdict.EVICT, Verdict.EVICT, Verdict.EVICT), 3),
        ((Verdict.EVICT, Verdict.EVICT, Verdict.DEFER), 1),
        ((Verdict.DEFER, Verdict.DEFER, Verdict.COMMIT), 0),
        ((Verdict.COMMIT, Verdict.COMMIT), 0),
        ((Verdict.DEFER, Verdict.COMMIT, Verdict.DEFER), 1),
    ],
)
def test_a_streak_counts_agreeing_uninformative_visits(history: tuple[Verdict, ...], streak: int) -> None:
    evidence = make_evidence(verdicts=history)
    assert (evidence.streak, evidence.visits) == (streak, len(history))
    assert evidence.last_verdict == (history[-1] if history else None)


def test_the_last_reason_is_remembered() -> None:
    assert make_evidence().judged(Verdict.SKIP, "too_easy").reason == "too_easy"


@given(evidences())
def test_a_row_survives_json(evidence: Evidence) -> None:
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence


@given(priors, st.lists(rewards))
def test_priors_and_moments_survive_json(prior: Prior, values: list[float]) -> None:
    moments = RewardMoments(version=3).updated(values)
    assert msgspec.json.decode(msgspec.json.encode(prior), type=Prior) == prior
    assert msgspec.json.decode(msgspec.json.encode(moments), type=RewardMoments) == moments


def test_feeding_back_only_selected_pilots_would_bias_the_belief() -> None:
    rng = np.random.default_rng(3)
    every = selected = Evidence.fresh(Prior(), version=0)
    for successes in rng.binomial(16, 0.05, 400).tolist():
        visit: tuple[Rollout, ...] = make_rollouts(successes, 16)
        every = every.observed(visit, version=0, prior=Prior(), discount=1.0)
        if 2 <= successes <= 12:
            selected = selected.observed(visit, version=0, prior=Prior(), discount=1.0)
    assert every.belief.mean == pytest.approx(0.05, abs=0.01)
    assert selected.belief.mean == pytest.approx(0.14, abs=0.01)


def test_a_turn_that_history_ended_is_a_turn_and_no_part_of_a_streak() -> None:
    seen = make_evidence(verdicts=(Verdict.SKIP, Verdict.SKIP))
    passed = seen.passed_over("too_easy")
    assert (passed.visits, passed.streak, passed.last_verdict) == (3, 2, Verdict.SKIP)
    assert passed.reason == "too_easy"
    assert passed.judged(Verdict.SKIP, "again").streak == 3


def test_ageing_twice_is_ageing_once_by_both() -> None:
    prior = Prior(a0=0.3, b0=0.7)
    evidence = make_evidence().observed(make_rollouts(3, 8), version=0, prior=prior, discount=0.9)
    twice, once = evidence.aged(2, prior, 0.9).aged(7, prior, 0.9), evidence.aged(7, prior, 0.9)
    assert (twice.belief.a, twice.belief.b) == pytest.approx((once.belief.a, once.belief.b))
    assert (twice.moments.weight, twice.moments.m2) == pytest.approx((once.moments.weight, once.moments.m2))
    assert twice.belief.version == once.belief.version == 7


def test_where_nothing_was_seen_what_is_believed_is_the_prior_of_now() -> None:
    """A prompt that was passed over unseen must not cling to what was expected of it then."""
    passed = Evidence.fresh(Prior(a0=1.0, b0=9.0), version=0).passed_over("foreseen_hard")
    aged = passed.aged(1, Prior(a0=3.0, b0=2.0), 0.98)
    assert aged.belief == Belief(a=3.0, b=2.0, version=1)
    assert aged.visits == 1
