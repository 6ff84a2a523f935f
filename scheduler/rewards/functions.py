"""The built-in judges: pure functions of a text and its reference answer.

Owns: `exact`, `numeric` and `regex`. Never limits its own time (the worker it runs in is killed). Invariant:
a text that makes no sense is wrong (reward 0); an answer that makes no sense raises ValueError, because a
zero would be a lie.
"""

import re
from fractions import Fraction

from scheduler.core.types import Judgement

_WHOLE = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
# A sign belongs to the number only where no operand stands before it: "12-5" holds 12 and 5.
_NUMBER = re.compile(rf"(?<![\w.])(?:(?<!\))[+-])?{_DECIMAL}(?:/{_WHOLE}(?![\d/]|\.\d))?")
_MAX_EXPONENT_DIGITS = 3


def exact(text: str, answer: str) -> Judgement:
    """Right where the stripped text equals the stripped answer."""
    return _verdict(text.strip() == answer.strip())


def numeric(text: str, answer: str, *, tolerance: float) -> Judgement:
    """Right where the last number in `text` equals the one in `answer`.

    |number - answer| <= tolerance * max(1, |answer|), in exact rational arithmetic; two integers must be
    equal. Thousands commas, signs, decimals, exponents and fractions (`3/4`) are read. Raises ValueError if
    `answer` holds no number.
    """
    expected = read_number(answer)
    if expected is None:
        raise ValueError(f"the reference answer {answer!r} holds no number")
    found = read_number(text)
    if found is None:
        return _verdict(False)
    if found.denominator == 1 and expected.denominator == 1:
        return _verdict(found == expected)
    scale = max(Fraction(1), abs(expected))
    return _verdict(abs(found - expected) <= Fraction(tolerance) * scale)


def regex(text: str, answer: str, *, pattern: str | None = None) -> Judgement:
    """Right where the pattern `answer` is found in `text`; with a pool's `pattern`, right where it captures
    `answer`.

    With `pattern` the last match counts and its first group, stripped, must equal the stripped answer. Raises
    `re.error`, a ValueError's cousin, if the pattern does not compile.
    """
    if pattern is None:
        return _verdict(re.search(answer, text) is not None)
    captured = [match.group(1) for match in re.finditer(pattern, text)]
    return _verdict(bool(captured) and (captured[-1] or "").strip() == answer.strip())


def read_number(text: str) -> Fraction | None:
    """The last number written in `text`, exactly; None where there is none that can be read."""
    last = None
    for match in _NUMBER.finditer(text.replace("\N{MINUS SIGN}", "-")):
        last = match.group()
    return None if last is None else _fraction(last.replace(",", ""))


def _fraction(written: str) -> Fraction | None:
    numerator, _, denominator = written.partition("/")
    exponent = numerator.lower().partition("e")[2].lstrip("+-")
    if len(exponent) > _MAX_EXPONENT_DIGITS:
        return None
    try:
        return Fraction(numerator) / Fraction(denominator or 1)
    except (ValueError, ZeroDivisionError):
        # Thousands of digits are past CPython's own limit, and 1/0 is no number.
        return None


def _verdict(correct: bool) -> Judgement:
    return Judgement(reward=1.0 if correct else 0.0, correct=correct)
