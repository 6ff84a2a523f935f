"""The demo's prompts."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.demo.arithmetic import FEW_SHOT, ArithmeticPrompt, Family, make_held_out, make_pool

POOL, HELD_OUT = 544, 232


def _commuted(prompt: ArithmeticPrompt) -> str:
    expression = prompt.metadata["expression"]
    return expression if "-" in expression else " ".join(sorted(expression.split()))


@settings(max_examples=25, deadline=None)
@given(st.integers(min_value=0, max_value=10_000))
def test_held_out_and_pool_share_no_expression_not_even_commuted(seed: int) -> None:
    pool = {_commuted(prompt) for prompt in make_pool(256, seed)}
    assert pool.isdisjoint(_commuted(prompt) for prompt in make_held_out(128, seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(min_value=0, max_value=10_000))
def test_every_seed_has_a_full_pool_and_a_full_held_out_set(seed: int) -> None:
    for prompts, size in ((make_pool(POOL, seed), POOL), (make_held_out(HELD_OUT, seed), HELD_OUT)):
        assert len({prompt.id for prompt in prompts}) == size
        assert set(Counter(prompt.metadata["family"] for prompt in prompts).values()) == {size // len(Family)}


def test_every_answer_is_right() -> None:
    for prompt in (*make_pool(POOL, 1), *make_held_out(HELD_OUT, 1)):
        assert prompt.answer == str(eval(prompt.metadata["expression"]))
        assert int(prompt.answer) >= 0


def test_a_prompt_is_four_solved_expressions_and_an_open_one() -> None:
    (prompt,) = make_pool(1, 1)
    expression = prompt.metadata["expression"]
    assert FEW_SHOT == "3 + 4 = 7\n12 - 5 = 7\n6 * 2 = 12\n21 + 13 = 34\n"
    assert prompt.text == f"{FEW_SHOT}{expression} ="
    assert prompt.id == f"one_digit_sum-{expression.replace(' + ', '-')}"


def test_a_solved_example_is_never_asked() -> None:
    asked = {_commuted(prompt) for seed in range(5) for prompt in make_pool(POOL, seed)}
    assert asked.isdisjoint({"+ 3 4", "12 - 5", "* 2 6", "+ 13 21"})


def test_the_same_seed_gives_the_same_prompts_and_another_seed_others() -> None:
    assert make_pool(64, 1) == make_pool(64, 1)
    assert make_pool(64, 1) != make_pool(64, 2)
    assert make_held_out(64, 1) != make_held_out(64, 2)


def test_a_larger_pool_contains_the_smaller_one() -> None:
    assert make_pool(400, 3)[:64] == make_pool(64, 3)


def test_operands_have_as_many_digits_as_the_family_says() -> None:
    digits = {
        prompt.metadata["family"]: sorted(len(word) for word in prompt.metadata["expression"].split()[::2])
        for prompt in make_pool(POOL, 4)
    }
    assert digits[Family.TWO_DIGIT_SUM] == [2, 2]
    assert digits[Family.THREE_DIGIT_SUM] == [3, 3]
    assert digits[Family.TWO_PLUS_ONE_DIGIT_SUM] == digits[Family.TWO_BY_ONE_DIGIT_PRODUCT] == [1, 2]
    assert digits[Family.THREE_TERM_SUM] == [1, 1, 1]


@pytest.mark.parametrize("num_prompts", [0, -1, 1_000_000])
def test_a_size_that_cannot_be_made_is_refused(num_prompts: int) -> None:
    for make in (make_pool, make_held_out):
        with pytest.raises(InvalidInput, match=r"at (least|most)") as caught:
            make(num_prompts, 1)
        assert caught.value.field == "num_prompts"
