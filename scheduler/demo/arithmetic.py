"""The demo's prompts: arithmetic as four-shot text, from one generator for the pool and for the held-out set.

Owns: the families, their expressions, and the split between pool and held-out. Pure. Invariant: for one seed, no
expression of the held-out set is in the pool, not even commuted, and both sets have the families in equal shares.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from scheduler.core.errors import InvalidInput

FEW_SHOT = "3 + 4 = 7\n12 - 5 = 7\n6 * 2 = 12\n21 + 13 = 34\n"
HELD_OUT_PERCENT = 30
"""Of each family's expressions, commuted ones kept together."""
_MAX_DRAWN = 1000
"""Expressions looked at per family: families larger than this are sampled, smaller ones are used up."""


class Family(StrEnum):
    """A kind of expression; each ranges from always right to never right for a small model."""

    ONE_DIGIT_SUM = "one_digit_sum"
    """8 + 5"""
    ONE_DIGIT_DIFFERENCE = "one_digit_difference"
    """13 - 5: the sums of one-digit numbers backwards, so that nothing is negative"""
    ONE_DIGIT_PRODUCT = "one_digit_product"
    """8 * 5"""
    TWO_BY_ONE_DIGIT_PRODUCT = "two_by_one_digit_product"
    """34 * 5"""
    TWO_PLUS_ONE_DIGIT_SUM = "two_plus_one_digit_sum"
    """34 + 5"""
    THREE_TERM_SUM = "three_term_sum"
    """8 + 5 + 3"""
    TWO_DIGIT_SUM = "two_digit_sum"
    """34 + 57"""
    THREE_DIGIT_SUM = "three_digit_sum"
    """345 + 578"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One sum, difference or product."""

    operator: str
    operands: tuple[int, ...]

    @property
    def value(self) -> int:
        """What it evaluates to."""
        match self.operator:
            case "+":
                return sum(self.operands)
            case "-":
                return self.operands[0] - sum(self.operands[1:])
            case _:
                return prod(self.operands)

    @property
    def key(self) -> str:
        """The same for an expression and every commuted form of it."""
        operands = self.operands if self.operator == "-" else tuple(sorted(self.operands))
        return f"{self.operator}{operands}"

    def __str__(self) -> str:
        return f" {self.operator} ".join(map(str, self.operands))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticPrompt:
    """A prompt as a pool takes it."""

    id: str
    text: str
    """Four solved expressions and one that ends in `=`; the model goes on with a space and the answer."""
    answer: str
    metadata: Mapping[str, str]
    """`family` and `expression`."""


_SHOWN = frozenset(
    Expression(operator=operator, operands=operands).key
    for operator, operands in (("+", (3, 4)), ("-", (12, 5)), ("*", (6, 2)), ("+", (21, 13)))
)
"""The solved examples: never asked, for their answer is in the text."""

_DIGIT, _TWO_DIGITS, _THREE_DIGITS = range(10), range(10, 100), range(100, 1000)
_OPERANDS: Mapping[Family, tuple[str, tuple[range, ...]]] = {
    Family.ONE_DIGIT_SUM: ("+", (_DIGIT, _DIGIT)),
    Family.ONE_DIGIT_DIFFERENCE: ("-", (_DIGIT, _DIGIT)),
    Family.ONE_DIGIT_PRODUCT: ("*", (_DIGIT, _DIGIT)),
    Family.TWO_BY_ONE_DIGIT_PRODUCT: ("*", (_TWO_DIGITS, _DIGIT)),
    Family.TWO_PLUS_ONE_DIGIT_SUM: ("+", (_TWO_DIGITS, _DIGIT)),
    Family.THREE_TERM_SUM: ("+", (_DIGIT, _DIGIT, _DIGIT)),
    Family.TWO_DIGIT_SUM: ("+", (_TWO_DIGITS, _TWO_DIGITS)),
    Family.THREE_DIGIT_SUM: ("+", (_THREE_DIGITS, _THREE_DIGITS)),
}


def make_pool(num_prompts: int, seed: int) -> tuple[ArithmeticPrompt, ...]:
    """The prompts to train on.

    Raises InvalidInput where a family has too few expressions for its share (beyond 544 prompts). A larger pool
    of the same seed contains every smaller one.
    """
    return _make(num_prompts, seed, held_out=False)


def make_held_out(num_prompts: int, seed: int) -> tuple[ArithmeticPrompt, ...]:
    """The prompts to measure on, disjoint from every pool of the same seed.

    Raises InvalidInput where a family has too few expressions for its share (beyond 232 prompts).
    """
    return _make(num_prompts, seed, held_out=True)


def _make(num_prompts: int, seed: int, *, held_out: bool) -> tuple[ArithmeticPrompt, ...]:
    if num_prompts < 1:
        raise InvalidInput(f"num_prompts must be at least 1, got {num_prompts}", field="num_prompts")
    expressions = {family: _expressions(family, seed, held_out=held_out) for family in Family}
    capacity = len(Family) * min(map(len, expressions.values()))
    if num_prompts > capacity:
        raise InvalidInput(
            f"with seed {seed} there are at most {capacity} {'held-out ' if held_out else ''}prompts of equal shares "
            f"for all families, got num_prompts={num_prompts}",
            field="num_prompts",
        )
    return tuple(_in_turn(expressions, num_prompts))


def _in_turn(expressions: Mapping[Family, Sequence[Expression]], num_prompts: int) -> Iterator[ArithmeticPrompt]:
    """One prompt of each family in turn, so that any stretch of the pool has the same mixture."""
    families = tuple(expressions)
    for index in range(num_prompts):
        family = families[index % len(families)]
        yield _prompt(family, expressions[family][index // len(families)])


def _prompt(family: Family, expression: Expression) -> ArithmeticPrompt:
    return ArithmeticPrompt(
        id="-".join((family, *map(str, expression.operands))),
        text=f"{FEW_SHOT}{expression} =",
        answer=str(expression.value),
        metadata={"family": family, "expression": str(expression)},
    )


def _expressions(family: Family, seed: int, *, held_out: bool) -> list[Expression]:
    """The family's expressions on one side of the split, in an order drawn by seed.

    The split does not depend on how many prompts are asked for, and its sizes hardly depend on the seed.
    """
    rng = random.Random(f"{seed}:{family}")
    _, ranges = _OPERANDS[family]
    size = prod(map(len, ranges))
    drawn = [_expression(family, index) for index in rng.sample(range(size), min(size, _MAX_DRAWN))]
    fresh = [expression for expression in drawn if expression.key not in _SHOWN]
    held_out_keys = _first_keys(fresh, len(fresh) * HELD_OUT_PERCENT // 100)
    return [expression for expression in fresh if (expression.key in held_out_keys) is held_out]


def _first_keys(expressions: Sequence[Expression], num_expressions: int) -> frozenset[str]:
    """The keys met first that together stand for at least `num_expressions`."""
    keys: set[str] = set()
    covered = 0
    for key, count in Counter(expression.key for expression in expressions).items():
        if covered >= num_expressions:
            break
        keys.add(key)
        covered += count
    return frozenset(keys)


def _expression(family: Family, index: int) -> Expression:
    operator, ranges = _OPERANDS[family]
    operands: list[int] = []
    for values in reversed(ranges):
        index, position = divmod(index, len(values))
        operands.insert(0, values[position])
    if operator == "-":
        operands[0] += operands[1]
    return Expression(operator=operator, operands=tuple(operands))
