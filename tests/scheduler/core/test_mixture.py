"""Several pools in one run: names of prompts, and turns by weight."""

import random
from collections import Counter

import pytest

from scheduler.core.errors import NotFound
from scheduler.core.mixture import UNMIXED, Mixture, PoolShare, forfeited, turns
from scheduler.core.pool_tally import CLAIMED, pool_counter, pool_tallies
from scheduler.core.types import Verdict

PLENTY = 10_000
MIX = Mixture((PoolShare(name="math", weight=3.0), PoolShare(name="code")))


def plenty(mixture: Mixture) -> dict[str, int]:
    return dict.fromkeys(mixture.names, PLENTY)


def drawn(mixture: Mixture, wanted: list[int]) -> list[str]:
    """The pools of one claim after the other, in looks of so many claims, while every pool has plenty."""
    taken, order = Counter[str](), list[str]()
    for count in wanted:
        given = turns(mixture, taken, plenty(mixture), count)
        taken.update(given)
        order += given
        assert not forfeited(mixture, taken, plenty(mixture))
    return order


def test_weights_are_interleaved_smoothly() -> None:
    assert drawn(MIX, [8]) == ["math", "math", "math", "code"] * 2


@pytest.mark.parametrize("seed", range(20))
def test_at_no_moment_does_a_pool_lag_its_share_by_more_than_one_claim(seed: int) -> None:
    rng = random.Random(seed)
    weights = [rng.uniform(0.1, 5.0) for _ in range(rng.randint(2, 6))]
    mixture = Mixture(tuple(PoolShare(name=f"p{number}", weight=weight) for number, weight in enumerate(weights)))
    order = drawn(mixture, [rng.randint(1, 9) for _ in range(60)])
    for count in range(1, len(order) + 1):
        had = Counter(order[:count])
        for name in mixture.names:
            ahead = had[name] - count * mixture.part(name)
            assert -1.0 - 1e-9 <= ahead < len(weights)


def test_how_many_are_wanted_at_a_time_does_not_change_the_order() -> None:
    assert drawn(MIX, [1] * 40) == drawn(MIX, [40]) == drawn(MIX, [7, 13, 20])


def test_a_pool_with_nothing_to_claim_gives_its_turns_away_for_good() -> None:
    assert turns(MIX, {"math": 30, "code": 10}, {"math": 0, "code": 100}, 20) == ("code",) * 20
    assert forfeited(MIX, {"math": 30, "code": 30}, {"code": 80}) == {"math": 60}
    # Back again, it gets its share of what is claimed from now on, not what it missed.
    taken = {"math": 90, "code": 30}
    assert Counter(turns(MIX, taken, plenty(MIX), 40)) == {"math": 30, "code": 10}


def test_a_turn_that_others_have_not_had_either_is_not_over() -> None:
    assert forfeited(MIX, {"math": 30, "code": 10}, {"code": 100}) == {}
    assert forfeited(MIX, {"math": 30, "code": 11}, {"code": 99}) == {"math": 3}


def test_a_pool_that_has_less_than_its_share_leaves_the_rest_to_others() -> None:
    assert Counter(turns(MIX, {}, {"math": 2, "code": 100}, 8)) == {"math": 2, "code": 6}
    assert forfeited(MIX, {"math": 2, "code": 6}, {"code": 94}) == {"math": 16}


def test_with_nothing_to_claim_anywhere_nobody_loses_a_turn() -> None:
    assert turns(MIX, {"math": 3}, {}, 8) == ()
    assert forfeited(MIX, {"math": 3}, {}) == {}


def test_prompts_of_several_pools_are_called_after_their_pool() -> None:
    assert MIX.name_of("math", "a:b") == "math:a:b"
    assert MIX.origin("math:a:b") == ("math", "a:b")
    assert (MIX.is_mixed, MIX.label, MIX.part("math")) == (True, "math+code", 0.75)
    for name in ("a", "art:b"):
        with pytest.raises(NotFound, match="say of which"):
            MIX.origin(name)


def test_prompts_of_one_pool_keep_their_names() -> None:
    alone = Mixture((PoolShare(name="math"),))
    assert (alone.name_of("math", "a:b"), alone.origin("a:b"), alone.is_mixed) == ("a:b", ("math", "a:b"), False)
    assert UNMIXED.pool_of("a") == ""


def test_the_tally_of_a_pool_is_read_from_its_own_counters() -> None:
    counters = {
        "considered": 12,
        pool_counter("math", "considered"): 8,
        pool_counter("math", CLAIMED): 6,
        pool_counter("math", "passed_over:evict"): 2,
        pool_counter("math", "verdict:skip"): 2,
        pool_counter("math", "spent:rollouts"): 40,
        pool_counter("math", "spent:tokens"): 400,
        pool_counter("math", "pilots:judged"): 20,
        pool_counter("math", "pilots:correct"): 5,
    }
    math, code = pool_tallies(MIX, counters)
    assert (math.claimed, math.considered, math.rollouts, math.tokens) == (6, 8, 40, 400)
    assert math.skip_rates == {Verdict.SKIP: 0.25, Verdict.DEFER: 0.0, Verdict.EVICT: 0.25}
    assert math.pilot_success_rate == 0.25
    assert (code.claimed, code.weight, code.part, code.skip_rates, code.pilot_success_rate) == (0, 1.0, 0.25, {}, None)


def test_the_tally_of_the_only_pool_is_the_ledger() -> None:
    counters = {"considered": 12, "passed_over:skip": 2, "verdict:defer": 3, "spent:rollouts": 40}
    [pool] = pool_tallies(Mixture((PoolShare(name="math"),)), counters)
    assert (pool.claimed, pool.considered, pool.rollouts, pool.part) == (10, 12, 40, 1.0)
