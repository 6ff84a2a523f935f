"""The renewal game against a plain recursion, and the price against its definition."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.allocators.interface import Experience
from scheduler.core.allocators.market import Game, Market, fair_price
from scheduler.core.errors import InvalidInput
from scheduler.core.prior import Prior
from scheduler.core.types import Verdict

GAME = Game(pilot_step=4, most_pilots=16, smallest_group=64, largest_group=64)


def plain_worth(game: Game, a: float, b: float, price: float, count: int, right_before: int) -> float:
    """The equation of the docstring, term by term."""

    def beta(x: float, y: float) -> float:
        return math.exp(math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y))

    def usefulness(n: int) -> float:
        return n if game.noise_scale is None else n / (1 + n / game.noise_scale)

    @cache
    def worth(right: int, more: int, first: bool) -> float:
        x, y, k = a + right, b + more - right, count + more

        def value(n: int) -> float:
            if not game.normalised:
                return x * y / ((x + y) * (x + y + 1))
            all_right = beta(x + n - k, y) / beta(x, y) if right_before + right == k else 0.0
            all_wrong = beta(x, y + n - k) / beta(x, y) if right_before + right == 0 else 0.0
            return 1.0 - all_right - all_wrong

        least = max(k, game.smallest_group)
        sizes = {*range(least, game.largest_group, game.pilot_step), max(least, game.largest_group)}
        options: list[float] = [value(n) * usefulness(n) - price * (n - k) for n in sizes]
        step = game.pilot_step
        if k + step <= game.most_pilots:
            options.append(
                math.fsum(
                    math.comb(step, j) * beta(x + j, y + step - j) / beta(x, y) * worth(right + j, more + step, False)
                    for j in range(step + 1)
                )
                - price * (step + game.round_cost)
            )
        return max(options) if first else max(0.0, *options)

    return worth(0, 0, True)


@settings(max_examples=60, deadline=None)
@given(
    a=st.floats(0.05, 40),
    b=st.floats(0.05, 40),
    price=st.floats(0.001, 0.25),
    pilots=st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted),
    noise_scale=st.none() | st.floats(1, 200),
    smallest=st.integers(2, 64),
    round_cost=st.floats(0, 8),
    normalised=st.booleans(),
)
def test_what_a_visit_is_worth_is_the_equations_value(
    a: float,
    b: float,
    price: float,
    pilots: list[int],
    noise_scale: float | None,
    smallest: int,
    round_cost: float,
    normalised: bool,
) -> None:
    right, count = pilots
    game = Game(
        pilot_step=4,
        most_pilots=16,
        smallest_group=smallest,
        largest_group=64,
        noise_scale=noise_scale,
        round_cost=round_cost,
        normalised=normalised,
    )
    outlook = game.outlook(np.array([a]), np.array([b]), np.array([price]), count, right)
    assert outlook.worth_C[0] == pytest.approx(plain_worth(game, a, b, price, count, right), rel=1e-9, abs=1e-9)


def test_candidates_do_not_disturb_each_other() -> None:
    a_C, b_C, price_C = np.array([0.2, 5.0, 30.0]), np.array([0.3, 5.0, 1.0]), np.array([0.1, 0.2, 0.1])
    together = GAME.outlook(a_C, b_C, price_C, 0)
    for index in range(3):
        one = slice(index, index + 1)
        alone = GAME.outlook(a_C[one], b_C[one], price_C[one], 0)
        assert (alone.worth_C[0], alone.size_C[0]) == (together.worth_C[index], together.size_C[index])


def test_a_price_takes_from_every_visit_what_it_costs() -> None:
    prices = np.linspace(0.01, 0.25, 25)
    worth = GAME.outlook(np.full(25, 2.0), np.full(25, 3.0), prices, 0).worth_C
    assert (np.diff(worth) < 0).all()


def test_no_pilots_are_left_to_ask_for_where_the_last_were_made() -> None:
    assert GAME.outlook(np.array([8.0]), np.array([8.0]), np.array([0.1]), 16).more_C[0] == -np.inf
    assert GAME.outlook(np.array([8.0]), np.array([8.0]), np.array([0.1]), 13).more_C[0] == -np.inf


@pytest.mark.parametrize("prior", [Prior(), Prior(a0=0.2, b0=0.3), Prior(a0=0.3, b0=1.0), Prior(a0=9.0, b0=9.0)])
def test_the_fair_price_is_where_an_unknown_prompt_is_worth_nothing(prior: Prior) -> None:
    price = fair_price(GAME, prior)
    a_C, b_C = np.array([prior.a0] * 2), np.array([prior.b0] * 2)
    below, above = GAME.outlook(a_C, b_C, np.array([price - 1e-6, price + 1e-6]), 0).worth_C
    assert below > 0 >= above


@pytest.mark.parametrize(
    ("prior", "relative"),
    [
        (Prior(a0=1.0, b0=1.0), 1.17),
        (Prior(a0=0.2, b0=0.3), 1.99),
        (Prior(a0=0.3, b0=1.0), 1.72),
        (Prior(a0=1.0, b0=0.3), 1.72),
    ],
)
def test_without_memory_the_game_earns_a_little_more_than_the_sequential_rule(prior: Prior, relative: float) -> None:
    """Dropping after 4 or 8 that agree, and outside the band after 16, earns 1.15, 1.94, 1.65 and 1.67 times GRPO's."""
    total = prior.a0 + prior.b0
    uniform = prior.a0 * prior.b0 / (total * (total + 1))
    assert fair_price(GAME, prior) / uniform == pytest.approx(relative, abs=0.03)


def test_where_advantages_are_normalised_a_group_counts_by_whether_its_rewards_differ() -> None:
    game = Game(pilot_step=4, most_pilots=16, smallest_group=16, largest_group=16, normalised=True)
    a_C, b_C, price_C = np.array([1.2, 2.2, 3.2]), np.array([3.3, 2.3, 1.3]), np.full(3, 0.5)
    assert game.outlook(a_C, b_C, price_C, 4, 1).commit_C == pytest.approx([10.0] * 3)


def test_the_price_follows_mixed_groups_where_advantages_are_normalised() -> None:
    game = Game(pilot_step=4, most_pilots=16, smallest_group=64, largest_group=64, normalised=True)
    market = Market()
    for _ in range(60):
        market = market.after(game, experience(mixed=30))
    assert market.price == pytest.approx(0.3, abs=1e-6)


def test_small_groups_pay_where_noise_is_low_and_screening_cheap() -> None:
    sure = np.array([500.0]), np.array([500.0]), np.array([0.1])
    sizes = [
        Game(pilot_step=4, most_pilots=16, smallest_group=8, largest_group=64, noise_scale=scale)
        .outlook(*sure, 0)
        .size_C[0]
        for scale in (8.0, 64.0, None)
    ]
    assert sizes == [8, 36, 64]


def experience(
    *, rollouts: int = 100, signal: float = 10.0, tokens: int = 400, groups: int = 0, grouped: int = 0, mixed: int = 0
) -> Experience:
    return Experience(
        step=1,
        epoch=0,
        num_rollouts=rollouts,
        num_tokens=tokens,
        signal=signal,
        visits={Verdict.COMMIT: groups},
        num_grouped=grouped,
        num_mixed=mixed,
    )


def test_the_price_begins_fair_and_follows_what_rollouts_fetch() -> None:
    market = Market()
    fair = market.price_in(GAME)
    assert fair == fair_price(GAME, Prior())
    for _ in range(60):
        market = market.after(GAME, experience())
    assert market.price == pytest.approx(0.1, abs=1e-6)
    assert market.tokens_per_rollout == 4.0
    once = Market().after(GAME, experience())
    assert once.price == pytest.approx(0.75 * fair + 0.25 * 0.1)


def test_a_step_without_rollouts_leaves_the_price() -> None:
    market = Market(price=0.12, tokens_per_rollout=3.0)
    assert market.after(GAME, experience(rollouts=0, tokens=0)) == market


def test_signal_counts_by_the_usefulness_of_the_groups_it_came_in() -> None:
    noisy = Game(pilot_step=4, most_pilots=16, smallest_group=8, largest_group=64, noise_scale=16.0)
    market = Market(price=0.0).after(noisy, experience(groups=4, grouped=64))
    assert market.price == pytest.approx(0.25 * 0.1 / 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pilot_step": 0}, "parameters.pilot_step"),
        ({"pilot_step": 17}, "parameters.pilot_step"),
        ({"smallest_group": 1}, "parameters.smallest_group"),
        ({"smallest_group": 65}, "parameters.smallest_group"),
        ({"round_cost": -1.0}, "parameters.round_cost"),
        ({"noise_scale": 0.0}, "parameters.noise_scale"),
        ({"noise_scale": math.inf}, "parameters.noise_scale"),
        ({"noise_scale": math.nan}, "parameters.noise_scale"),
    ],
)
def test_a_game_without_moves_is_refused(change: dict[str, float], field: str) -> None:
    sizes: dict[str, float] = {"pilot_step": 4, "most_pilots": 16, "smallest_group": 64, "largest_group": 64, **change}
    with pytest.raises(InvalidInput) as refused:
        Game(**sizes)  # type: ignore[arg-type]  # the wrong numbers are the point
    assert refused.value.field == field
