"""Candidate expressions."""

import re

import pytest

from benchmarks.target.expressions import LARGEST_ANSWER, Expression, Family, questions

QUESTIONS = questions(20, seed=3)


@pytest.mark.parametrize(
    ("family", "operands", "text", "value"),
    [
        (Family.SUM_AND_PRODUCT, (2, 3, 4), "2 + 3 * 4", 14),
        (Family.PRODUCT_LESS_DIGIT, (3, 4, 5), "3 * 4 - 5", 7),
        (Family.TWO_DIGIT_SUM_LESS_DIGIT, (40, 30, 5), "40 + 30 - 5", 65),
        (Family.THREE_DIGIT_PRODUCT, (2, 3, 4), "2 * 3 * 4", 24),
    ],
)
def test_products_bind_stronger_than_sums(family: Family, operands: tuple[int, ...], text: str, value: int) -> None:
    expression = Expression(family=family, operands=operands)
    assert (str(expression), expression.value) == (text, value)


def test_every_answer_is_that_of_its_text() -> None:
    for question in QUESTIONS:
        assert re.fullmatch(r"[0-9+*\- ]+", str(question.expression))
        assert eval(str(question.expression)) == question.expression.value
        assert 0 <= question.expression.value <= LARGEST_ANSWER


def test_commuted_forms_have_one_key_also_across_families() -> None:
    one = Expression(family=Family.SUM_AND_PRODUCT, operands=(2, 3, 4))
    other = Expression(family=Family.PRODUCT_AND_SUM, operands=(4, 3, 2))
    assert one.key == other.key


def test_differences_do_not_commute() -> None:
    pair = [Expression(family=Family.ONE_DIGIT_DIFFERENCE, operands=operands).key for operands in ((5, 3), (3, 5))]
    assert pair[0] != pair[1]


def test_no_candidate_is_there_twice_or_shown_in_a_prompt() -> None:
    keys = [question.expression.key for question in QUESTIONS]
    shown = {example.key for question in QUESTIONS for example in question.examples}
    assert len(set(keys)) == len(keys)
    assert not shown & set(keys)


def test_a_seed_fixes_the_candidates() -> None:
    assert questions(20, seed=3) == QUESTIONS
    assert questions(20, seed=4) != QUESTIONS
