"""Overlong completions: those that are cut off at `max_new_tokens`, or come close to it.

Owns: what a run does with them. Pure. Invariants: a rollout stays as right or wrong as it was judged, so that verdicts
and evidence are about correctness whatever is done here; a masked rollout counts for nothing in training.

A completion that is cut off mostly gets the reward of a wrong answer, whatever its reasoning was worth: noise, which
DAPO removes in two ways (arXiv 2503.14476, section 3.4).
"""

from dataclasses import replace
from enum import StrEnum

from scheduler.core.types import FinishReason, Rollout

_DEFAULT_CACHE_SHARE = 5
"""One over the share of `max_new_tokens` that is the paper's own cache: 4,096 of 20,480 tokens."""


class OverlongPolicy(StrEnum):
    """What becomes of overlong completions."""

    KEEP = "keep"
    """They are trained on with the reward they got."""
    MASK = "mask"
    """One that was cut off counts for nothing: neither in the loss nor in what its siblings are compared with."""
    PENALISE = "penalise"
    """The reward falls over the last tokens before the limit, by up to 1 (soft overlong punishment)."""


def default_cache(max_new_tokens: int) -> int:
    """Tokens before the limit over which the reward falls, where a run does not say: a fifth, as in the paper."""
    return max(1, max_new_tokens // _DEFAULT_CACHE_SHARE)


def length_penalty(num_tokens: int, max_new_tokens: int, cache: int) -> float:
    """R_length of equation 13: what is added to the reward of a completion of so many tokens, from 0 down to -1.

    0 up to max - cache; then ((max - cache) - tokens) / cache; -1 from the limit on.
    """
    return max(-1.0, min(0.0, (max_new_tokens - cache - num_tokens) / cache))


def handled(rollout: Rollout, policy: OverlongPolicy, *, max_new_tokens: int, cache: int) -> Rollout:
    """The rollout as it is trained on."""
    if policy is OverlongPolicy.MASK:
        return replace(rollout, masked=rollout.finish_reason is FinishReason.LENGTH)
    if policy is OverlongPolicy.PENALISE:
        penalty = length_penalty(len(rollout.token_ids), max_new_tokens, cache)
        return replace(rollout, reward=rollout.reward + penalty)
    return rollout
