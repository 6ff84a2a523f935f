from collections.abc import Iterable

import pytest

from scheduler.core.allocators.catalogue import AllocatorName
from scheduler.core.errors import InvalidInput
from scheduler.core.ledger import Outcome
from scheduler.core.types import Verdict
from scheduler.simulator.account import Account
from scheduler.simulator.pool import PoolName
from tests.scheduler.simulator.rules import (
    Choosy,
    Distant,
    Greedy,
    Lonely,
    Piloted,
    Refusing,
    Undecided,
    Uniform,
    Wasteful,
    Watching,
    released,
    run,
)


def accounted(account: Account) -> int:
    return account.outcomes.total()


@pytest.mark.parametrize("name", AllocatorName)
def test_every_generated_rollout_has_one_outcome(name: AllocatorName) -> None:
    account = run(released(name))

    assert account.generated == accounted(account) > 0


@pytest.mark.parametrize("name", AllocatorName)
@pytest.mark.parametrize("pool", [PoolName.U_SHAPED, PoolName.DRIFTING])
def test_no_prompt_is_trained_twice_in_an_epoch(name: AllocatorName, pool: PoolName) -> None:
    account = run(released(name), pool=pool, num_prompts=64, steps=20)

    assert account.epochs > 1
    assert max(account.times_trained.values()) <= account.epochs


@pytest.mark.parametrize("name", AllocatorName)
def test_the_same_seed_gives_the_same_run(name: AllocatorName) -> None:
    assert run(released(name), seed=3) == run(released(name), seed=3)


def test_another_seed_gives_another_run() -> None:
    assert run(Uniform(), seed=1).signal != run(Uniform(), seed=2).signal


def test_a_rule_that_turns_nobody_down_trains_every_prompt_once_before_any_twice() -> None:
    account = run(Uniform(), num_prompts=20, steps=5, batch_size=4)

    assert set(account.times_trained.values()) == {1}
    assert len(account.times_trained) == 20
    assert account.epochs == 1
    assert account.generated == account.outcomes[Outcome.TRAINED] == 20 * 8


def test_a_batch_has_distinct_prompts_where_a_pool_is_hardly_larger_than_it() -> None:
    account = run(Uniform(), num_prompts=5, steps=5, batch_size=4)

    # The fifth batch cannot hold more than every prompt once, whatever the epochs.
    assert account.trained_groups <= 5 * 5
    assert max(account.times_trained.values()) <= 5


def test_signal_is_the_variance_of_the_true_rates_summed_over_trained_rollouts() -> None:
    account = run(Uniform(), pool=PoolName.FLAT, num_prompts=2000, steps=100, batch_size=20)

    assert account.efficiency == pytest.approx(1 / 6, abs=0.006)


def test_survivors_without_a_slot_wait_and_go_first_in_the_next_batch() -> None:
    account = run(Piloted(), num_prompts=100, steps=2)

    # 8 and 8 are piloted, 4 and 4 trained; 8 pilots still wait at the end.
    assert account.generated == 16 + 8 * 7
    assert account.outcomes == {Outcome.TRAINED: 64, Outcome.CANCELLED: 8}


def test_survivors_that_wait_too_long_expire() -> None:
    account = run(Piloted(), num_prompts=200, steps=6, max_wait=1)

    assert account.outcomes[Outcome.EXPIRED] > 0
    assert account.generated == accounted(account)


def test_a_rule_that_waits_for_nothing_discards_finished_groups_without_a_slot() -> None:
    account = run(Wasteful(), num_prompts=100, steps=3)

    assert account.outcomes == {Outcome.TRAINED: 3 * 4 * 8, Outcome.SURPLUS: 3 * 4 * 8}


def test_a_batch_begins_with_a_round_even_if_waiting_survivors_could_fill_it() -> None:
    watching = Watching()
    run(watching, num_prompts=100, steps=3)

    assert [demand.version for demand in watching.demands] == [0, 1, 2]
    assert {demand.prompts for demand in watching.demands} == {8}


def test_a_prompt_turned_down_for_some_versions_returns_after_them() -> None:
    soon = run(Choosy(revisit_after=0), num_prompts=8, steps=12, batch_size=2)
    late = run(Choosy(revisit_after=5), num_prompts=8, steps=12, batch_size=2)

    assert soon.verdicts[Verdict.SKIP] > 0
    assert late.trained_groups == soon.trained_groups == 24


def test_where_everything_waits_what_waits_least_is_looked_at_again() -> None:
    account = run(Choosy(revisit_after=1000), num_prompts=8, steps=8, batch_size=2)

    assert account.trained_groups == 16


def test_a_run_ends_once_nothing_is_left_to_claim() -> None:
    account = run(Refusing(), num_prompts=10)

    assert account.trained_groups == 0
    assert account.considered == 10
    assert account.verdicts[Verdict.EVICT] == 10


def test_a_rule_that_passes_everybody_over_ends_its_run() -> None:
    account = run(Distant(), num_prompts=10)

    assert account.generated == 0
    assert account.efficiency == 0.0
    assert account.rollouts_per_mixed_group is None
    assert account.verdicts[Verdict.SKIP] == account.considered == 20


def test_what_a_rule_is_shown_is_aged_to_the_present_version() -> None:
    watching = Watching()
    run(watching, num_prompts=10, steps=8)

    versions = iter(demand.version for demand in watching.demands)
    assert {candidate.evidence.belief.version for candidate in watching.ranked} == set(versions)
    assert all(evidence.moments.version == evidence.belief.version for evidence in watching.decided)


def test_a_rule_is_told_once_a_step_what_the_step_brought() -> None:
    watching = Watching()
    account = run(watching, num_prompts=100, steps=4)

    assert [experience.step for experience in watching.experience] == [1, 2, 3, 4]
    assert total(experience.num_rollouts for experience in watching.experience) == account.generated
    assert total(experience.num_tokens for experience in watching.experience) == account.tokens
    assert total(experience.visits[Verdict.COMMIT] for experience in watching.experience) == account.trained_groups
    assert watching.experience[-1].prior != watching.experience[0].prior


def total(numbers: Iterable[int]) -> int:
    return sum(numbers)


def test_a_rule_that_asks_for_more_than_the_cap_is_refused() -> None:
    with pytest.raises(InvalidInput, match="capped at 8"):
        run(Greedy(size=8), largest_group=8)


def test_a_rule_that_selects_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="selects none of 4"):
        run(Undecided())


def test_a_rule_that_commits_a_single_rollout_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a group of 1"):
        run(Lonely())


def test_drift_moves_the_pool_and_is_seen_step_by_step() -> None:
    account = run(Uniform(size=64), pool=PoolName.DRIFTING, steps=10)

    rates = [point.success_rate for point in account.milestones]
    assert [point.step for point in account.milestones] == list(range(11))
    assert rates == sorted(rates)
    assert rates[-1] > rates[0]
    assert account.rollouts_to(rates[5]) == 5 * 4 * 64
    assert account.rollouts_to(1.0) is None
