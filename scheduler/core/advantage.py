"""Advantages of a group: how much better each rollout did than its siblings.

Owns: the group baselines and their names. Never sees tokens or log-probs. Invariant: advantages of a group sum to zero,
and a group whose rewards do not vary has advantages of exactly zero, so that a learner may skip it.

Shape suffixes: N rollouts of one group.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import InvalidInput

_SAME_REWARD = 1e-9
"""Rewards this close, relative to the largest, differ by rounding only: 0.1 + 0.2 and 0.3 are one reward."""
_SMALLEST_SPREAD = 1e-150
"""A spread below this has a variance that underflows to 0: a std to divide by no longer exists."""


class AdvantageKind(StrEnum):
    """How a reward becomes an advantage."""

    GRPO = "grpo"
    """(r - mean) / std over the group, population std (arXiv 2402.03300, section 4.1)."""
    DR_GRPO = "dr_grpo"
    """r - mean: without the std, which over-weights very easy and very hard prompts (arXiv 2503.20783)."""
    RLOO = "rloo"
    """r - mean of the others, that is N / (N - 1) (r - mean): unbiased (arXiv 2402.14740)."""


def counted_advantages(
    rewards_N: Sequence[float], counted_N: Sequence[bool], kind: AdvantageKind
) -> NDArray[np.float64]:
    """The advantages of a group in which some rollouts do not count: theirs are 0, and no baseline knows of them."""
    counted = np.asarray(counted_N, dtype=np.bool_)
    advantages = np.zeros(len(counted), dtype=np.float64)
    if counted.any():
        advantages[counted] = group_advantages(np.asarray(rewards_N, dtype=np.float64)[counted], kind)
    return advantages


def group_advantages(rewards_N: Sequence[float] | NDArray[np.float64], kind: AdvantageKind) -> NDArray[np.float64]:
    """The advantage of each rollout of one group, float64, shape (N,).

    Raises InvalidInput unless the rewards are a non-empty list of finite numbers.
    """
    rewards = np.asarray(rewards_N, dtype=np.float64)
    if rewards.ndim != 1 or rewards.size == 0:
        raise InvalidInput(f"a group's rewards are a non-empty list, not of shape {rewards.shape}", field="rewards")
    if not np.isfinite(rewards).all():
        raise InvalidInput("rewards must be finite: a failed reward is dropped, never trained on", field="rewards")
    if np.ptp(rewards) <= max(_SMALLEST_SPREAD, _SAME_REWARD * np.abs(rewards).max()):
        return np.zeros_like(rewards)
    centred: NDArray[np.float64] = rewards - rewards.mean()
    match kind:
        case AdvantageKind.GRPO:
            centred /= float(centred.std())
        case AdvantageKind.RLOO:
            centred *= rewards.size / (rewards.size - 1)
    return centred
