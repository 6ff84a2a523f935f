import math

import numpy as np
import pytest

from scheduler.simulator.pool import SHAPES, Lesson, Pool, PoolName, PoolShape


def logit(rate: float) -> float:
    return math.log(rate / (1 - rate))


@pytest.mark.parametrize("name", PoolName)
def test_a_pool_is_drawn_from_its_beta(name: PoolName) -> None:
    shape = SHAPES[name]
    pool = shape.draw(40_000, np.random.default_rng(0))
    rates = np.array(pool.rates)
    total = shape.a + shape.b

    assert len(pool) == 40_000
    assert pool.mean == pytest.approx(shape.a / total, abs=0.01)
    assert rates.var() == pytest.approx(shape.a * shape.b / total**2 / (total + 1), abs=0.005)
    assert ((rates > 0) & (rates < 1)).all()


def test_static_shapes_do_not_learn() -> None:
    for shape in SHAPES.values():
        if not shape.drifts:
            pool = shape.draw(10, np.random.default_rng(0))
            before = list(pool.rates)
            pool.learn([Lesson(prompt=0, weight=1.0)])
            assert pool.rates == before
    assert sum(not shape.drifts and shape.is_even for shape in SHAPES.values()) == 5


def test_lengths_are_powers_of_two_each_as_likely_and_even_pools_have_one() -> None:
    uneven = SHAPES[PoolName.UNEVEN].draw(40_000, np.random.default_rng(0))
    lengths, counts = np.unique(uneven.lengths, return_counts=True)
    assert lengths.tolist() == [1, 2, 4, 8, 16]
    assert counts / 40_000 == pytest.approx(np.full(5, 0.2), abs=0.01)
    assert set(SHAPES[PoolName.FLAT].draw(10, np.random.default_rng(0)).lengths) == {1}


def test_a_group_moves_its_own_prompt_by_its_signal_and_every_prompt_a_little() -> None:
    pool = Pool(PoolShape(a=1, b=1, own=2.0, shared=8.0), np.array([0.5, 0.2, 0.9, 0.1]))
    pool.learn([Lesson(prompt=0, weight=1.0), Lesson(prompt=1, weight=0.5)])

    signals = 0.25, 0.5 * 0.16
    everywhere = 8.0 * sum(signals) / 4
    assert logit(pool.rates[0]) == pytest.approx(2.0 * signals[0] + everywhere)
    assert logit(pool.rates[1]) == pytest.approx(logit(0.2) + 2.0 * signals[1] + everywhere)
    assert logit(pool.rates[2]) == pytest.approx(logit(0.9) + everywhere)


def test_no_rate_reaches_zero_or_one() -> None:
    pool = Pool(PoolShape(a=1, b=1, own=1e6), np.array([0.0, 1.0, 0.5]))
    pool.learn([Lesson(prompt=2, weight=1.0)])

    assert all(0 < rate < 1 for rate in pool.rates)
    assert pool.variance(2) > 0
