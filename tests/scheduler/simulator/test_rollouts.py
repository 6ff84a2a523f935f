import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.informativeness import Evidence
from scheduler.core.prior import Prior
from scheduler.core.types import Stage
from scheduler.simulator.rollouts import Mint, Tally, observed

PRIOR = Prior(a0=0.4, b0=1.1)
COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40))


def test_rollouts_of_one_kind_and_version_are_one_object() -> None:
    right, also_right, wrong = Mint(3).rollouts(Stage.PILOT, 2, 1)

    assert right is also_right
    assert (right.correct, right.reward, wrong.correct, wrong.reward) == (True, 1.0, False, 0.0)
    assert right.oldest_version == 3
    assert {rollout.stage for rollout in Mint(3).rollouts(Stage.COMMIT, 1, 1)} == {Stage.COMMIT}


@given(visits=st.lists(st.tuples(COUNTS, COUNTS, st.integers(0, 9)), min_size=1, max_size=4), length=st.integers(1, 16))
def test_evidence_from_counts_is_what_it_is_from_the_rollouts(
    visits: list[tuple[tuple[int, int], tuple[int, int], int]], length: int
) -> None:
    by_counts = by_rollouts = Evidence.fresh(PRIOR, 0)
    version = 0
    for (right_pilots, wrong_pilots), (right_commits, wrong_commits), later in visits:
        version += later
        mint = Mint(version)
        tally = Tally(
            pilots=right_pilots + wrong_pilots,
            right_pilots=right_pilots,
            commits=right_commits + wrong_commits,
            right_commits=right_commits,
        )
        rollouts = mint.rollouts(Stage.PILOT, right_pilots, wrong_pilots, length)
        rollouts += mint.rollouts(Stage.COMMIT, right_commits, wrong_commits, length)
        by_counts = observed(by_counts, tally, version=version, prior=PRIOR, discount=0.9, length=length)
        by_rollouts = by_rollouts.observed(rollouts, version=version, prior=PRIOR, discount=0.9)

    assert by_counts.belief == by_rollouts.belief
    assert by_counts.moments.mean == pytest.approx(by_rollouts.moments.mean)
    assert by_counts.moments.m2 == pytest.approx(by_rollouts.moments.m2, abs=1e-9)
    assert by_counts.moments.weight == pytest.approx(by_rollouts.moments.weight)
    assert by_counts.tokens_per_rollout == pytest.approx(by_rollouts.tokens_per_rollout)
    assert (by_counts.last_pilot, by_counts.graded) == (by_rollouts.last_pilot, by_rollouts.graded)
    assert (by_counts.num_pilots, by_counts.num_commits) == (by_rollouts.num_pilots, by_rollouts.num_commits)


def test_a_tally_knows_whether_its_group_is_mixed_and_how_much_it_varies() -> None:
    assert not Tally(pilots=4).is_mixed
    assert not Tally(pilots=4, right_pilots=4).is_mixed
    mixed = Tally(pilots=4, right_pilots=1, commits=4, right_commits=1)
    assert mixed.is_mixed
    assert mixed.variance == pytest.approx(0.25 * 0.75)
