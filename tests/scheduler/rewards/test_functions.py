"""The built-in judges."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.rewards.functions import exact, numeric, read_number, regex


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [(" 13\n", "13", True), ("13", " 13 ", True), ("13.", "13", False), ("", "13", False), ("1 3", "13", False)],
)
def test_exact_compares_stripped_text(text: str, answer: str, correct: bool) -> None:
    judgement = exact(text, answer)
    assert (judgement.correct, judgement.reward) == (correct, float(correct))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("= 13", 13),
        ("so 7, then 8.", 8),
        ("12-5", 5),
        ("3 - 5", 5),
        ("3 -5", -5),
        ("(2)-3", 3),
        ("x=-7", -7),
        ("\N{MINUS SIGN}7", -7),
        ("+4", 4),
        ("$1,234.50", Fraction("1234.5")),
        ("12,345,678", 12_345_678),
        ("1,2", 2),
        ("1,2345", 2345),
        ("-3/4.", Fraction(-3, 4)),
        ("1.5e3", 1500),
        (".5", Fraction(1, 2)),
        ("50%", 50),
        ("x2 y", None),
        ("v1.2.3", None),
        ("1/0", None),
        ("1e9999", None),
        ("9" * 5000, None),
        ("none", None),
    ],
)
def test_the_last_number_of_a_text_is_read(text: str, number: Fraction | int | None) -> None:
    assert read_number(text) == number


@settings(deadline=None)
@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_every_integer_is_read_back_plain_and_with_commas(value: int) -> None:
    assert read_number(f"the answer is {value}") == value
    assert read_number(f"the answer is {value:,}.") == value


@settings(deadline=None)
@given(st.fractions(max_denominator=10_000))
def test_every_fraction_is_read_back(value: Fraction) -> None:
    assert read_number(f"= {value}") == value


@settings(deadline=None)
@given(st.text(max_size=200))
def test_reading_a_number_never_raises(text: str) -> None:
    number = read_number(text)
    assert number is None or isinstance(number, Fraction)


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        ("0.3333333", "1/3", True),
        ("0.3334", "1/3", False),
        ("12345679", "12345678", False),
        ("13.0", "13", True),
        ("1000001.0", "1000000.5", True),
        ("no idea", "13", False),
    ],
)
def test_numeric_is_relative_above_one_and_exact_for_integers(text: str, answer: str, correct: bool) -> None:
    assert numeric(text, answer, tolerance=1e-6).correct is correct


def test_numeric_refuses_an_answer_without_a_number() -> None:
    with pytest.raises(ValueError, match="holds no number"):
        numeric("13", "thirteen", tolerance=1e-6)


def test_regex_searches_for_the_answer() -> None:
    assert regex("the cat sat", "c.t").correct
    assert not regex("the dog sat", "c.t").correct
    with pytest.raises(re.error):
        regex("text", "(")


@pytest.mark.parametrize(
    ("text", "correct"),
    [("answer: 7", True), ("answer: 8, no, answer:  7", True), ("answer: 7, answer: 8", False), ("7", False)],
)
def test_a_pools_pattern_captures_what_must_equal_the_answer(text: str, correct: bool) -> None:
    assert regex(text, "7", pattern=r"answer: *(\d+)").correct is correct


def test_a_group_that_took_no_part_captures_nothing() -> None:
    assert not regex("b", "7", pattern="(a)|b").correct
