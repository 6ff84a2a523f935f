"""DAPO's dynamic sampling, as released and with its surplus carried over (arXiv 2503.14476, section 3.2)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.dapo import Dapo, DapoCarry
from scheduler.core.allocators.interface import Allocator, Commit, Selection
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Stage
from tests.scheduler.core.factories import make_evidence, make_ready_group, make_rollouts

RELEASED: Allocator = Dapo(pilots=16, commits=48)
CARRYING: Allocator = DapoCarry(pilots=16, commits=48)


def test_the_release_over_generates_in_rounds_of_three_batches_and_throws_the_surplus_away() -> None:
    assert (RELEASED.name, RELEASED.largest_group) == ("dapo", 64)
    assert (RELEASED.round_batches, RELEASED.discards_surplus) == (3, True)


def test_the_other_samples_on_demand_and_keeps_its_surplus() -> None:
    assert (CARRYING.name, CARRYING.largest_group) == ("dapo_carry", 64)
    assert (CARRYING.round_batches, CARRYING.discards_surplus) == (None, False)


@pytest.mark.parametrize("rule", [RELEASED, CARRYING])
def test_equation_11_trains_exactly_the_groups_with_some_but_not_all_correct(rule: Allocator) -> None:
    trained = [
        correct for correct in range(65) if isinstance(rule.decide(make_evidence(), make_rollouts(correct, 64)), Commit)
    ]
    assert trained == list(range(1, 64))


@pytest.mark.parametrize("p", [0.02, 0.5, 0.95])
def test_a_trained_prompt_costs_a_group_over_the_chance_that_it_is_mixed(p: float) -> None:
    """What dynamic sampling pays: n / P(mixed), with P(mixed) = 1 - p^n - (1 - p)^n."""
    rule = DapoCarry(pilots=2, commits=2)
    mass = math.fsum(
        math.comb(4, k) * p**k * (1 - p) ** (4 - k)
        for k in range(5)
        if isinstance(rule.decide(make_evidence(), make_rollouts(k, 4)), Commit)
    )
    assert mass == pytest.approx(1 - p**4 - (1 - p) ** 4)


def test_rollouts_of_either_stage_count_towards_the_group() -> None:
    rollouts = [*make_rollouts(0, 60), *make_rollouts(4, 4, Stage.COMMIT)]
    assert CARRYING.decide(make_evidence(), rollouts) == Commit(count=0)


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 12), st.integers(0, 15))
def test_the_release_trains_the_oldest_and_discards_every_other_group(
    versions: list[int], held: int, need: int
) -> None:
    groups = [
        make_ready_group(f"g{index}", oldest_version=version, published_order=index)
        for index, version in enumerate(versions)
    ]
    selection = RELEASED.select(groups[held:], groups[:held], need)
    assert selection.batch == CARRYING.select(groups[held:], groups[:held], need).batch
    assert sorted((*selection.batch, *selection.surplus)) == sorted(group.group_id for group in groups)


def test_the_other_discards_nothing() -> None:
    old, new = make_ready_group("old", oldest_version=1), make_ready_group("new", oldest_version=2)
    assert CARRYING.select([new, old], [], need=1) == Selection(batch=("old",), surplus=())


def test_rounds_may_have_another_size_but_not_none() -> None:
    assert Dapo(pilots=2, commits=2, rounds=1).round_batches == 1
    with pytest.raises(InvalidInput, match="1 or more batches") as caught:
        Dapo(pilots=2, commits=2, rounds=0)
    assert caught.value.field == "parameters.rounds"


def test_a_group_that_cannot_vary_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 2 rollouts"):
        Dapo(pilots=1, commits=0)
