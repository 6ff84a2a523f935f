"""What an evaluation measures, and what it makes of it.

Owns: the two measures, where an evaluation stands, the text of the reference answer, and the probability of it. Pure;
never tokenises. Invariant: a probability is in [0, 1], whatever rounding did to its log-probs.
"""

import math
from collections.abc import Iterable
from enum import StrEnum

from scheduler.core.errors import InvalidInput

ANSWER = "{answer}"
"""The place of the reference answer in a target."""
DEFAULT_TARGET = f" {ANSWER}\n"


class EvaluationMeasure(StrEnum):
    """How a prompt is measured."""

    ROLLOUTS = "rollouts"
    """Rollouts are sampled and judged by the pool's reward: the accuracy is the share that is right."""
    LIKELIHOOD = "likelihood"
    """The policy's own probability of the reference answer, read from a prefill at temperature 1: nothing is sampled,
    so that it has no noise. The accuracy is its mean."""


class EvaluationState(StrEnum):
    """Where an evaluation stands."""

    WAITING = "waiting"
    """For its weight version to be live."""
    RUNNING = "running"
    """Its attempts are being made; weights are not updated meanwhile."""
    DONE = "done"
    """Every prompt was measured."""
    FAILED = "failed"
    """It could not be finished; the reason says why, and what was measured stays."""


def check_target(target: str, field: str) -> None:
    """Raise InvalidInput for a target without a place for the answer."""
    if ANSWER not in target:
        raise InvalidInput(f"{target!r} has no place for the reference answer: write {ANSWER} there", field=field)


def target_text(target: str, answer: str) -> str:
    """The text whose probability is asked."""
    return target.replace(ANSWER, answer)


def probability(logprobs: Iterable[float]) -> float:
    """Of a text, by the log-probs (nats) of its tokens: exp(sum of log p(token | what precedes it))."""
    return min(1.0, math.exp(math.fsum(logprobs)))
