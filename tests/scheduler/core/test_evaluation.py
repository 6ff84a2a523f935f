"""What an evaluation measures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.core.evaluation import DEFAULT_TARGET, check_target, probability, target_text


def test_the_answer_stands_where_the_target_has_its_place() -> None:
    assert target_text(DEFAULT_TARGET, "7") == " 7\n"
    assert target_text("\\boxed{{answer}} {x}", "{answer}") == "\\boxed{{answer}} {x}"


def test_a_target_without_a_place_for_the_answer_is_refused() -> None:
    check_target(DEFAULT_TARGET, "target")
    with pytest.raises(InvalidInput, match="no place for the reference answer") as refusal:
        check_target(" answer\n", "evaluation.target")
    assert refusal.value.field == "evaluation.target"


def test_the_probability_of_a_text_is_the_product_over_its_tokens() -> None:
    assert probability([math.log(0.5), math.log(0.25)]) == pytest.approx(0.125)
    assert probability([]) == 1.0


@given(st.lists(st.floats(max_value=1e-6, min_value=-1e9)))
def test_a_probability_is_one_whatever_rounding_did(logprobs: list[float]) -> None:
    assert 0.0 <= probability(logprobs) <= 1.0
