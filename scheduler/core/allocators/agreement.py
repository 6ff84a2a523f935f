"""Rollouts that all agree: zero variance, zero advantage, nothing to learn from.

Owns: telling whether rollouts agree, and how a visit ends whose rollouts do. Never looks at the shaped reward: rollouts
agree when all are correct or none is. Invariant: rollouts are mixed, all right or all wrong, exactly one.
"""

from collections.abc import Sequence
from enum import StrEnum

from scheduler.core.allocators.interface import Settle
from scheduler.core.types import Rollout, Verdict


class AgreementReason(StrEnum):
    """What all rollouts of a visit agreed on."""

    ALL_RIGHT = "all_right"
    """Every rollout was correct: SKIP."""
    ALL_WRONG = "all_wrong"
    """None was: DEFER."""


def is_mixed(rollouts: Sequence[Rollout]) -> bool:
    """Whether some rollouts are right and some wrong."""
    return 0 < sum(rollout.correct for rollout in rollouts) < len(rollouts)


def dropped(rollouts: Sequence[Rollout]) -> Settle:
    """The end of a visit whose rollouts all agree; the prompt returns in normal order either way."""
    if all(rollout.correct for rollout in rollouts):
        return Settle(verdict=Verdict.SKIP, reason=AgreementReason.ALL_RIGHT, revisit_after=0)
    return Settle(verdict=Verdict.DEFER, reason=AgreementReason.ALL_WRONG, revisit_after=0)
