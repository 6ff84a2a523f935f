"""Stragglers: attempts that take much longer than their siblings.

Owns: when an attempt counts as one, and what a run can do about it. Pure. Invariant: there are no stragglers before the
set share of the attempts is back, so that there is something to compare with.

A long answer takes longer than a short one. Cutting stragglers therefore leaves long answers out of groups, and a
policy trained on what is left drifts towards short ones; attempts made again have another length, which is biased
likewise, if less. Waiting has no such bias, and is the default.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from statistics import median


class StragglerPolicy(StrEnum):
    """What becomes of stragglers."""

    WAIT = "wait"
    """They are waited for, until their timeout."""
    CUT = "cut"
    """They are aborted, and the group goes without them if it has its least number of rollouts."""
    REPLACE = "replace"
    """They are aborted and made again, as lost attempts are."""


def patience_s(durations_s: Sequence[float], num_wanted: int, *, share: float, factor: float) -> float | None:
    """Seconds after which an attempt is a straggler; None while there is nothing to compare with.

    `durations_s` are those of the attempts that are back, of `num_wanted`: once a `share` of them is, the others may
    take `factor` times the median.
    """
    if not durations_s or len(durations_s) < math.ceil(share * num_wanted):
        return None
    return factor * median(durations_s)
