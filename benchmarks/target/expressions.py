"""Arithmetic expressions of many families: the candidates that the benchmark's pools are drawn from.

Owns: the families, and drawing expressions of one. Pure. Invariant: no two candidates have the same key, so nothing is
there twice, not even commuted, and no candidate is one of the solved examples.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

LARGEST_ANSWER = 9999
"""A space, four digits and a newline: the six tokens that a rollout may have."""


class Family(StrEnum):
    """A template of an expression; each letter stands for a set of numbers (`NUMBERS`)."""

    ONE_DIGIT_SUM = "d + d"
    ONE_DIGIT_DIFFERENCE = "d - d"
    ONE_DIGIT_PRODUCT = "d * d"
    TWO_PLUS_ONE_DIGIT_SUM = "t + d"
    ONE_PLUS_TWO_DIGIT_SUM = "d + t"
    TWO_MINUS_ONE_DIGIT_DIFFERENCE = "t - d"
    TWO_BY_ONE_DIGIT_PRODUCT = "t * d"
    TWO_DIGIT_SUM = "t + t"
    TWO_DIGIT_DIFFERENCE = "t - t"
    TWO_DIGIT_PRODUCT = "t * t"
    THREE_PLUS_ONE_DIGIT_SUM = "h + d"
    THREE_PLUS_TWO_DIGIT_SUM = "h + t"
    THREE_MINUS_ONE_DIGIT_DIFFERENCE = "h - d"
    THREE_DIGIT_SUM = "h + h"
    THREE_DIGIT_DIFFERENCE = "h - h"
    THREE_BY_ONE_DIGIT_PRODUCT = "h * d"
    TENS_SUM = "T + T"
    TENS_DIFFERENCE = "T - T"
    TENS_PRODUCT = "T * d"
    TENS_AND_DIGIT = "T + d"
    HUNDREDS_SUM = "H + H"
    HUNDREDS_DIFFERENCE = "H - H"
    HUNDREDS_AND_TENS = "H + T"
    HUNDREDS_AND_TWO_DIGITS = "H + t"
    TWO_DIGITS_PLUS_TEN = "t + x"
    TWO_DIGITS_BY_TEN = "t * x"
    THREE_DIGITS_BY_TEN = "h * x"
    TWO_DIGITS_BY_HUNDRED = "t * c"
    TWO_DIGITS_PLUS_NOTHING = "t + z"
    THREE_DIGITS_PLUS_NOTHING = "h + z"
    TWO_DIGITS_LESS_NOTHING = "t - z"
    THREE_DIGITS_LESS_NOTHING = "h - z"
    TWO_DIGITS_BY_ONE = "t * o"
    THREE_DIGITS_BY_ONE = "h * o"
    TWO_DIGITS_BY_NOTHING = "t * z"
    NOTHING_BY_TWO_DIGITS = "z * t"
    THREE_TERM_SUM = "d + d + d"
    FOUR_TERM_SUM = "d + d + d + d"
    SUM_LESS_DIGIT = "d + d - d"
    SUM_AND_PRODUCT = "d + d * d"
    PRODUCT_AND_SUM = "d * d + d"
    PRODUCT_LESS_DIGIT = "d * d - d"
    THREE_DIGIT_PRODUCT = "d * d * d"
    TWO_DIGIT_THREE_TERM_SUM = "t + t + t"
    TWO_DIGIT_SUM_LESS_DIGIT = "t + t - d"
    TWO_DIGITS_AND_PRODUCT = "t + d * d"


NUMBERS: Mapping[str, Sequence[int]] = {
    "d": range(10),
    "t": range(10, 100),
    "h": range(100, 1000),
    "T": range(10, 100, 10),
    "H": range(100, 1000, 100),
    "z": (0,),
    "o": (1,),
    "x": (10,),
    "c": (100,),
}
"""What a letter of a template stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """Sums and differences of products."""

    family: Family
    operands: tuple[int, ...]

    def __str__(self) -> str:
        operands = iter(self.operands)
        return "".join(str(next(operands)) if letter in NUMBERS else letter for letter in self.family)

    @property
    def value(self) -> int:
        """What it evaluates to, products first."""
        return sum(sign * prod(factors) for sign, factors in self._terms)

    @property
    def key(self) -> str:
        """The same for an expression and every commuted form of it, whatever its family."""
        return " ".join(
            f"{'-' if sign < 0 else '+'}{'*'.join(map(str, sorted(factors)))}"
            for sign, factors in sorted(self._terms, key=lambda term: (-term[0], sorted(term[1])))
        )

    @property
    def _terms(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The products with their signs, in order."""
        terms: list[tuple[int, tuple[int, ...]]] = []
        for index, operand in enumerate(self.operands):
            match self._operators[index]:
                case "*":
                    sign, factors = terms.pop()
                    terms.append((sign, (*factors, operand)))
                case operator:
                    terms.append((-1 if operator == "-" else 1, (operand,)))
        return tuple(terms)

    @property
    def _operators(self) -> tuple[str, ...]:
        """The operator before each operand."""
        return ("+", *self.family.split()[1::2])


_SHOWN = frozenset(
    Expression(family=family, operands=operands).key
    for family, operands in (
        (Family.ONE_DIGIT_SUM, (3, 4)),
        (Family.TWO_MINUS_ONE_DIGIT_DIFFERENCE, (12, 5)),
        (Family.ONE_DIGIT_PRODUCT, (6, 2)),
        (Family.TWO_DIGIT_SUM, (21, 13)),
    )
)
"""The solved examples of the prompt: never asked, for their answer is in the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An expression to be asked, after the examples that all prompts show or after others of its own family."""

    expression: Expression
    examples: tuple[Expression, ...] = ()
    """Shown in place of the usual ones: with eight of its own kind even a small model is nearly always right."""

    @property
    def label(self) -> str:
        """Its family, and how many examples of it are shown."""
        name = self.expression.family.name.lower()
        return f"{name}_{len(self.examples)}_shown" if self.examples else name


_EASY = (
    Family.THREE_DIGITS_BY_ONE,
    Family.NOTHING_BY_TWO_DIGITS,
    Family.THREE_DIGITS_BY_TEN,
    Family.THREE_DIGITS_LESS_NOTHING,
)
"""Of these a pool gets its trivial prompts. Few tokens: each rollout of a group may be prefilled by itself."""
_NUM_SHOWN, _NUM_EASY = 8, 80
"""Examples of an easy question, and questions of each easy family."""


def questions(per_family: int, seed: int) -> tuple[Question, ...]:
    """Up to `per_family` questions of each family and the easy ones, in an order drawn by `seed`, no key twice."""
    seen = set(_SHOWN)
    plain = [
        Question(expression=expression)
        for family in Family
        if family is not Family.NOTHING_BY_TWO_DIGITS
        for expression in _fresh(family, seed, seen, per_family)
    ]
    easy = [question for family in _EASY for question in _easy(_fresh(family, seed, seen))]
    return (*plain, *easy)


def _easy(unused: Sequence[Expression]) -> list[Question]:
    """The questions with examples of their own; what is shown is never asked."""
    shown, askable = tuple(unused[:_NUM_SHOWN]), unused[_NUM_SHOWN : _NUM_SHOWN + _NUM_EASY]
    return [Question(expression=expression, examples=shown) for expression in askable]


def _fresh(family: Family, seed: int, seen: set[str], most: int | None = None) -> list[Expression]:
    """Expressions of a family whose keys were not `seen`, and now are."""
    unseen = {expression.key: expression for expression in _drawn(family, seed) if expression.key not in seen}
    fresh = list(unseen.values())[:most]
    seen.update(expression.key for expression in fresh)
    return fresh


def _drawn(family: Family, seed: int, most: int = 4000) -> list[Expression]:
    """Expressions of a family with an answer that may be asked for, in random order; small families whole."""
    rng = random.Random(f"{seed}:{family}")
    ranges = [NUMBERS[letter] for letter in family if letter in NUMBERS]
    size = prod(map(len, ranges))
    drawn = [
        Expression(family=family, operands=_operands(ranges, index))
        for index in rng.sample(range(size), min(size, most))
    ]
    return [expression for expression in drawn if 0 <= expression.value <= LARGEST_ANSWER]


def _operands(ranges: Sequence[Sequence[int]], index: int) -> tuple[int, ...]:
    operands: list[int] = []
    for numbers in reversed(ranges):
        index, position = divmod(index, len(numbers))
        operands.insert(0, numbers[position])
    return tuple(operands)
