"""Simulated rollouts: right or wrong, and nothing else.

Owns: the few rollout values that a simulated visit is made of, and the evidence that counts of them leave. Never draws
one. Invariants: all rollouts of one stage, outcome, length and weight version are one shared object, so that a visit
costs a tuple and no construction; evidence from counts equals `Evidence.observed` of the rollouts.
"""

from dataclasses import dataclass, replace

from scheduler.core.informativeness import Evidence, PilotCount, RewardMoments
from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.prior import Prior
from scheduler.core.types import FinishReason, Rollout, Stage, VersionSpan


def _rollout(stage: Stage, correct: bool, version: int, length: int) -> Rollout:
    return Rollout(
        rid="simulated",
        stage=stage,
        token_ids=TokenIds(bytes(4 * length)),
        logprobs=Logprobs(bytes(4 * length)),
        finish_reason=FinishReason.STOP,
        spans=(VersionSpan(version=version, start=0, end=length),),
        reward=float(correct),
        correct=correct,
    )


class Mint:
    """The rollouts of one weight version."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._kinds: dict[tuple[Stage, int], tuple[Rollout, Rollout]] = {}

    def rollouts(self, stage: Stage, successes: int, failures: int, length: int = 1) -> tuple[Rollout, ...]:
        """So many right and wrong rollouts of `length` tokens."""
        kind = self._kinds.get((stage, length))
        if kind is None:
            right, wrong = (_rollout(stage, correct, self._version, length) for correct in (True, False))
            kind = self._kinds[stage, length] = right, wrong
        return (kind[0],) * successes + (kind[1],) * failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Rollouts of one visit, by stage and how many are right."""

    pilots: int = 0
    right_pilots: int = 0
    commits: int = 0
    right_commits: int = 0

    @property
    def rollouts(self) -> int:
        """Pilots and commits."""
        return self.pilots + self.commits

    @property
    def right(self) -> int:
        """Those that are right."""
        return self.right_pilots + self.right_commits

    @property
    def is_mixed(self) -> bool:
        """Whether some are right and some wrong."""
        return 0 < self.right < self.rollouts

    @property
    def variance(self) -> float:
        """Population variance of their rewards."""
        rate = self.right / self.rollouts
        return rate * (1.0 - rate)


def observed(
    evidence: Evidence, tally: Tally, *, version: int, prior: Prior, discount: float, length: int = 1
) -> Evidence:
    """What `Evidence.observed` makes of these rollouts of `length` tokens, without a look at each of them."""
    aged = evidence if evidence.belief.version == version else evidence.aged(version, prior, discount)
    if not tally.rollouts:
        return aged
    right, count = tally.right, tally.rollouts
    tokens = aged.tokens_per_rollout * aged.moments.weight + length * count
    return replace(
        aged,
        belief=aged.belief.updated(right, count - right),
        moments=_merged(aged.moments, right, count),
        last_pilot=PilotCount(successes=tally.right_pilots, count=tally.pilots, version=version)
        if tally.pilots
        else aged.last_pilot,
        tokens_per_rollout=tokens / (aged.moments.weight + count),
        num_pilots=aged.num_pilots + tally.pilots,
        num_commits=aged.num_commits + tally.commits,
    )


def _merged(moments: RewardMoments, right: int, count: int) -> RewardMoments:
    mean = right / count
    total = moments.weight + count
    shift = mean - moments.mean
    return RewardMoments(
        weight=total,
        mean=moments.mean + shift * count / total,
        m2=moments.m2 + count * mean * (1.0 - mean) + shift * shift * moments.weight * count / total,
        version=moments.version,
    )
