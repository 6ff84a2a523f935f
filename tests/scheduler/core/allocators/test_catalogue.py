"""The allocators a run can name."""

import pytest

from scheduler.core.allocators.catalogue import AllocatorName, build_allocator
from scheduler.core.allocators.dapo import Dapo
from scheduler.core.allocators.grpo import Grpo
from scheduler.core.allocators.pilot_commit import PilotCommit
from scheduler.core.errors import InvalidInput


@pytest.mark.parametrize("name", AllocatorName)
def test_every_name_builds_the_allocator_of_that_name(name: AllocatorName) -> None:
    allocator = build_allocator(name, pilots=8, commits=8, parameters={})
    assert allocator.name == name
    assert allocator.largest_group == 16


def test_uniform_groups_are_as_large_as_pilots_and_commits_together() -> None:
    assert build_allocator("grpo", pilots=8, commits=24, parameters={}) == Grpo(group_size=32)


def test_parameters_left_out_take_the_rules_defaults() -> None:
    built = build_allocator("pilot_commit", pilots=8, commits=8, parameters={"p_upper": 0.5, "evict_for": None})
    assert built == PilotCommit(pilots=8, commits=8, p_upper=0.5, evict_for=None)


def test_a_whole_number_is_a_rate_too() -> None:
    assert build_allocator("pilot_commit", pilots=8, commits=8, parameters={"p_lower": 0}) == PilotCommit(
        pilots=8, commits=8, p_lower=0.0
    )


def test_a_rule_of_ones_own_is_named_by_its_import_path() -> None:
    path = "scheduler.core.allocators.dapo:Dapo"
    assert build_allocator(path, pilots=8, commits=8, parameters={"rounds": 2}) == Dapo(pilots=8, commits=8, rounds=2)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"'gpro'.*grpo, dapo, .*pilot_commit.*package\.module:Name") as caught:
        build_allocator("gpro", pilots=8, commits=8, parameters={})
    assert caught.value.field == "allocator"


@pytest.mark.parametrize(
    ("name", "parameters", "field", "says"),
    [
        ("pilot_commit", {"p_uper": 0.5}, "parameters.p_uper", "rounds, p_solve, p_upper, p_lower, defer_for"),
        ("pilot_commit", {"pilots": 4}, "parameters.pilots", "no parameter 'pilots'"),
        ("grpo", {"p_upper": 0.5}, "parameters.p_upper", "its parameters: none"),
        ("pilot_commit", {"p_upper": None}, "parameters.p_upper", "a number for p_upper, not None"),
        ("pilot_commit", {"p_upper": True}, "parameters.p_upper", "a number for p_upper, not True"),
        ("pilot_commit", {"defer_for": 2.5}, "parameters.defer_for", "a whole number for defer_for, not 2.5"),
        ("pilot_commit", {"defer_for": None}, "parameters.defer_for", "a whole number for defer_for, not None"),
        ("pilot_commit", {"evict_for": 2.5}, "parameters.evict_for", "a whole number or null for evict_for, not 2.5"),
        ("pilot_commit", {"p_upper": 1.5}, "parameters", "p_upper=1.5"),
        ("dapo", {"rounds": None}, "parameters.rounds", "a whole number for rounds, not None"),
        ("dapo_carry", {"rounds": 3}, "parameters.rounds", "its parameters: none"),
    ],
)
def test_a_wrong_parameter_is_answered_with_what_would_be_right(
    name: str, parameters: dict[str, float | int | None], field: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_allocator(name, pilots=8, commits=8, parameters=parameters)
    assert caught.value.field == field
    assert says in str(caught.value)


@pytest.mark.parametrize(("name", "pilots", "commits"), [("grpo", 0, 1), ("pilot_commit", 0, 8)])
def test_sizes_that_a_rule_refuses_are_refused(name: str, pilots: int, commits: int) -> None:
    with pytest.raises(InvalidInput):
        build_allocator(name, pilots=pilots, commits=commits, parameters={})
