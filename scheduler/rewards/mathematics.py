"""Mathematical equality, as math-verify sees it.

Owns: reading answer and text, and comparing them. Never limits its own time: math-verify would do so by signals, which
a loop inside sympy outlives, so that the worker it runs in is killed instead. Invariant: a text that makes no sense is
wrong; an answer that cannot be read, and a comparison that breaks, raise.
"""

import logging
from collections.abc import Callable
from functools import lru_cache

from scheduler.core.types import Judgement
from scheduler.rewards import extras

EXTRA = "math"
_MARKS = ("$", r"\boxed", r"\(", r"\[", r"\begin")
"""Where mathematics begins in a text; an answer without any is mathematics as a whole."""
_ANSWERS_KEPT = 256
_OUT_OF_ROOM = (MemoryError, RecursionError)


def load() -> Callable[[str, str], Judgement]:
    """The judge of (text, answer); raises InvalidInput where math-verify is not installed."""
    math_verify = extras.load("math_verify", "math-verify", EXTRA)
    # It warns that nothing limits its time, as something does.
    logging.getLogger("math_verify").setLevel(logging.ERROR)

    def parse(text: str) -> list[object]:
        return list(math_verify.parse(text, parsing_timeout=None, raise_on_error=True))

    @lru_cache(maxsize=_ANSWERS_KEPT)
    def expected(answer: str) -> list[object]:
        marked = answer if any(mark in answer for mark in _MARKS) else f"${answer}$"
        found = parse(marked)
        if not found:
            raise ValueError(f"math-verify reads nothing in the reference answer {answer!r}")
        return found

    def judge(text: str, answer: str) -> Judgement:
        gold = expected(answer)
        try:
            found = parse(text)
        except _OUT_OF_ROOM:
            raise
        except Exception:  # noqa: BLE001 - sympy raises what it likes at nonsense
            found = []
        correct = bool(math_verify.verify(gold, found, timeout_seconds=None, raise_on_error=True))
        return Judgement(reward=1.0 if correct else 0.0, correct=correct)

    return judge
