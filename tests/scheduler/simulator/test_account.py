from scheduler.core.types import Verdict
from scheduler.simulator.account import Account


def test_a_run_that_generated_nothing_has_no_signal_and_no_price() -> None:
    account = Account()

    assert account.efficiency == 0.0
    assert account.rollouts_per_mixed_group is None
    assert set(account.skip_rates.values()) == {0.0}
    assert account.rollouts_to(0.0) is None


def test_signal_is_counted_for_what_was_trained_and_paid_for_by_all_that_was_generated() -> None:
    account = Account()
    account.generated = 100
    account.trained(3, 10, 0.25, is_mixed=True)
    account.trained(3, 10, 0.05, is_mixed=False)

    assert account.efficiency == (10 * 0.25 + 10 * 0.05) / 100
    assert (account.trained_groups, account.mixed_groups, len(account.times_trained)) == (2, 1, 1)
    assert account.rollouts_per_mixed_group == 100


def test_skip_rates_are_shares_of_the_prompts_considered() -> None:
    account = Account(considered=10)
    account.verdicts.update({Verdict.COMMIT: 5, Verdict.SKIP: 3, Verdict.DEFER: 1})

    assert account.skip_rates == {Verdict.SKIP: 0.3, Verdict.DEFER: 0.1, Verdict.EVICT: 0.0}


def test_a_target_is_reached_at_the_first_step_that_reaches_it() -> None:
    account = Account()
    for step, rate in enumerate((0.2, 0.5, 0.4, 0.6)):
        account.generated = 100 * step
        account.reached(step, rate)

    assert (account.rollouts_to(0.2), account.rollouts_to(0.45), account.rollouts_to(0.55)) == (0, 100, 300)
    assert account.rollouts_to(0.7) is None
