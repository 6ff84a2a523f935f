"""The orders that the released rules share."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.allocators.interface import Selection
from scheduler.core.allocators.orders import fewest_visits_first, oldest_first
from tests.scheduler.core.factories import make_candidate, make_ready_group


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_prompts_with_fewer_visits_are_claimed_first_and_none_twice(visits: list[int], wanted: int, seed: int) -> None:
    candidates = [make_candidate(f"p{index}", visits=count) for index, count in enumerate(visits)]
    claim = fewest_visits_first(candidates, wanted, np.random.default_rng(seed))
    claimed_visits = [visits[int(prompt_id[1:])] for prompt_id in claim]
    assert len(set(claim)) == len(claim)
    assert claimed_visits == sorted(visits)[:wanted]


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    candidates = [make_candidate(f"p{index}") for index in range(30)]
    orders = [fewest_visits_first(candidates, 30, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_no_demand_claims_nothing() -> None:
    assert fewest_visits_first([make_candidate()], -1, np.random.default_rng(0)) == ()


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 12), st.integers(0, 15))
def test_a_batch_takes_the_oldest_versions_whether_held_or_new(versions: list[int], held: int, need: int) -> None:
    groups = [
        make_ready_group(f"g{index}", oldest_version=version, published_order=index)
        for index, version in enumerate(versions)
    ]
    selection = oldest_first(groups[held:], groups[:held], need)
    expected = sorted(range(len(versions)), key=lambda index: (versions[index], index))[:need]
    assert selection == Selection(batch=tuple(f"g{index}" for index in expected), surplus=())


def test_equally_old_groups_are_trained_in_order_of_publication() -> None:
    late, early = make_ready_group("late", published_order=2), make_ready_group("early", published_order=1)
    assert oldest_first([late, early], [], need=2).batch == ("early", "late")


def test_no_need_selects_nothing() -> None:
    assert oldest_first([make_ready_group()], [], need=-1) == Selection(batch=())
