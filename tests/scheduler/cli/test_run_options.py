"""What `run create` sends."""

import pytest
import typer

from scheduler.cli.run_options import merged, parameters

LEAST = {"pool": "sums", "sampling": {"max_new_tokens": 8}}


def test_an_option_goes_over_the_file_at_its_place_and_leaves_the_rest() -> None:
    base = {**LEAST, "budget": {"rollouts": 10, "tokens": 20}}
    assert merged(base, {}, {"budget.rollouts": 30, "pilots": 2}, {}) == {
        **LEAST,
        "pilots": 2,
        "budget": {"rollouts": 30, "tokens": 20},
    }


def test_what_nobody_gave_is_not_sent() -> None:
    assert merged(LEAST, {}, {"pilots": None, "budget.rollouts": None}, {}) == LEAST


def test_the_file_is_left_as_it_was_read() -> None:
    base = {"pool": "sums", "sampling": {"max_new_tokens": 8}}
    merged(base, {"seed": 3}, {"sampling.temperature": 0.5}, {})
    assert base == LEAST


@pytest.mark.parametrize(
    ("base", "option"),
    [({"sampling": {"max_new_tokens": 8}}, "--pool"), ({"pool": "sums"}, "--max-new-tokens"), ({}, "--pool")],
)
def test_a_field_without_a_default_is_asked_for_by_its_option(base: dict[str, object], option: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        merged(base, {}, {}, {})
    assert refused.value.param_hint == option


def test_an_option_within_something_that_is_no_object_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="budget is 3"):
        merged({**LEAST, "budget": 3}, {}, {"budget.rollouts": 4}, {})


def test_a_setting_goes_over_the_file_and_an_option_over_it() -> None:
    request = merged({**LEAST, "pilots": 1}, {"pilots": 2, "budget.rollouts": 10, "max_steps": None}, {"pilots": 3}, {})
    assert request == {**LEAST, "pilots": 3, "budget": {"rollouts": 10}, "max_steps": None}


def test_a_setting_within_something_that_is_no_object_names_itself() -> None:
    with pytest.raises(typer.BadParameter, match="pool is 'sums'") as refused:
        merged(LEAST, {"pool.name": "others"}, {}, {})
    assert refused.value.param_hint == "--set"


def test_parameters_are_numbers_or_null_by_name() -> None:
    given = ("p_lower=0.25", "evict_for=null", "pilots=4")
    assert merged(LEAST, {}, {}, parameters(given))["parameters"] == {"p_lower": 0.25, "evict_for": None, "pilots": 4}


@pytest.mark.parametrize("pair", ["p_lower", "p_lower=", "p_lower=a lot", "=3", ""])
def test_a_parameter_of_another_form_is_refused(pair: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not NAME=NUMBER"):
        parameters([pair])
