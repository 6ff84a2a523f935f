"""What is known of how much a prompt's rollouts can teach: one row of the informativeness table.

Owns: the discounted Beta over a prompt's success rate, the discounted moments of its reward, and the row that carries
them with the prompt's history. Never decides whether a prompt is worth a visit: that is the allocator's.

Invariant: beliefs are fed with every rollout of a visit, those of rejected prompts too. Feeding back only what was
selected biases the estimate: with 16 pilots and a band of 2 to 12, a success rate of .05 would look like .14.

Every value here is a frozen dataclass of plain fields, so that a row travels as JSON and comes back equal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scheduler.core.errors import InvalidInput
from scheduler.core.prior import Prior
from scheduler.core.types import Rollout, Stage, Verdict


def discount_factor(discount: float, versions: int) -> float:
    """λ^Δ: the share of old evidence that survives Δ weight versions; never more than all of it.

    Versions only grow, so a negative Δ means a report that arrived late: nothing is aged for it.
    Raises InvalidInput unless 0 < λ <= 1.
    """
    if not 0 < discount <= 1:
        raise InvalidInput(f"a discount lies in (0, 1], not {discount}", field="discount")
    return math.pow(discount, max(0, versions))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A discounted Beta(a, b) over a prompt's success rate p, as of a weight version (MoPPS, arXiv 2507.04632)."""

    a: float
    b: float
    version: int
    """The weight version that it was last brought up to."""

    @classmethod
    def fresh(cls, prior: Prior, version: int) -> "Belief":
        """What is believed of a prompt that was never visited."""
        return cls(a=prior.a0, b=prior.b0, version=version)

    def aged(self, version: int, prior: Prior, discount: float) -> "Belief":
        """Forget towards the prior: a <- λ^Δ a + (1 - λ^Δ) a0, and b alike."""
        kept = discount_factor(discount, version - self.version)
        return Belief(
            a=kept * self.a + (1 - kept) * prior.a0,
            b=kept * self.b + (1 - kept) * prior.b0,
            version=max(self.version, version),
        )

    def updated(self, successes: int, failures: int) -> "Belief":
        """The posterior after so many more right and wrong rollouts. Raises InvalidInput for a negative count."""
        if successes < 0 or failures < 0:
            raise InvalidInput(f"counts are not negative: {successes} successes, {failures} failures")
        return replace(self, a=self.a + successes, b=self.b + failures)

    @property
    def mean(self) -> float:
        """E[p]."""
        return self.a / (self.a + self.b)

    @property
    def expected_variance(self) -> float:
        """E[p(1 - p)] = ab / ((a + b)(a + b + 1)): the reward variance expected of a binary reward, in [0, 1/4]."""
        total = self.a + self.b
        return self.a / total * (self.b / (total + 1))

    def mixed_probability(self, n: int) -> float:
        """P(n rollouts are neither all right nor all wrong) = 1 - B(a+n, b)/B(a, b) - B(a, b+n)/B(a, b).

        Concave in n >= 1, and 0 for n <= 1.
        """
        if n <= 1:
            return 0.0
        base = _log_beta(self.a, self.b)
        all_right = math.exp(_log_beta(self.a + n, self.b) - base)
        all_wrong = math.exp(_log_beta(self.a, self.b + n) - base)
        return min(1.0, max(0.0, 1.0 - all_right - all_wrong))

    def band_probability(self, m: int, low: int, high: int) -> float:
        """P(low <= successes among the next m rollouts <= high), a sum of BetaBinomial(k; m, a, b)."""
        base = _log_beta(self.a, self.b) + math.log(m + 1)
        terms = (
            math.exp(_log_beta(self.a + k, self.b + m - k) - _log_beta(k + 1, m - k + 1) - base)
            for k in range(max(0, low), min(m, high) + 1)
        )
        return min(1.0, math.fsum(terms))


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardMoments:
    """Discounted running mean and variance of a reward of any scale, as of a weight version."""

    weight: float = 0.0
    """Discounted number of rewards behind it."""
    mean: float = 0.0
    m2: float = 0.0
    """Discounted sum of squared deviations from the mean."""
    version: int = 0

    def aged(self, version: int, discount: float) -> "RewardMoments":
        """Forget with the same λ^Δ as the Beta; the mean stays, its weight shrinks."""
        kept = discount_factor(discount, version - self.version)
        return RewardMoments(
            weight=kept * self.weight, mean=self.mean, m2=kept * self.m2, version=max(self.version, version)
        )

    def updated(self, rewards: Sequence[float]) -> "RewardMoments":
        """Merge a set of rewards (Chan's pairwise update). Raises InvalidInput for one that is not finite."""
        if not rewards:
            return self
        if not all(map(math.isfinite, rewards)):
            raise InvalidInput(f"rewards must be finite: {list(rewards)}", field="reward")
        count = len(rewards)
        mean = math.fsum(rewards) / count
        m2 = math.fsum((reward - mean) ** 2 for reward in rewards)
        total = self.weight + count
        shift = mean - self.mean
        return RewardMoments(
            weight=total,
            mean=self.mean + shift * count / total,
            m2=self.m2 + m2 + shift * shift * self.weight * count / total,
            version=self.version,
        )

    @property
    def variance(self) -> float:
        """Population variance of the discounted rewards; 0 before the first."""
        return self.m2 / self.weight if self.weight > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotCount:
    """What the pilots of a visit said."""

    successes: int
    count: int
    version: int
    """The weight version at which the visit was observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One row of the informativeness table: everything remembered of a prompt in a run."""

    belief: Belief
    moments: RewardMoments
    graded: bool = False
    """Whether any reward was seen that is not plainly 1 for right and 0 for wrong."""
    visits: int = 0
    """Visits judged so far."""
    streak: int = 0
    """Consecutive visits, up to the last, with the same uninformative verdict; 0 after a COMMIT."""
    last_pilot: PilotCount | None = None
    last_verdict: Verdict | None = None
    reason: str = ""
    """The reason given with the last verdict."""
    tokens_per_rollout: float = 0.0
    """Discounted mean of generated tokens: the expected cost of one more rollout; 0 before the first."""
    num_pilots: int = 0
    num_commits: int = 0
    num_correct: int = 0
    """Of all of them, undiscounted: 0 means never solved."""

    @classmethod
    def fresh(cls, prior: Prior, version: int) -> "Evidence":
        """The row of a prompt that was never visited."""
        return cls(belief=Belief.fresh(prior, version), moments=RewardMoments(version=version))

    @property
    def num_rollouts(self) -> int:
        """Rollouts seen, pilots and commits."""
        return self.num_pilots + self.num_commits

    @property
    def informativeness(self) -> float:
        """The reward variance expected of the prompt's next rollouts, in squared reward units.

        Plain right-or-wrong rewards: E[p(1 - p)]. Any other reward: its sample variance with n - 1 degrees of freedom
        and the Beta's expectation as one more, (m2 + E[p(1 - p)]) / max(n, 1), so that one lonely reward does not read
        as "no variance" and a row that has aged to nothing reads as the belief does.
        """
        expected = self.belief.expected_variance
        if not self.graded:
            return expected
        return (self.moments.m2 + expected) / max(1.0, self.moments.weight)

    def aged(self, version: int, prior: Prior, discount: float) -> "Evidence":
        """The row brought up to a weight version: what is old has faded. Ageing twice is ageing once by both.

        Where no rollout was seen there is nothing to fade: what is believed is the prior, as it is now.
        """
        belief = self.belief.aged(version, prior, discount) if self.num_rollouts else Belief.fresh(prior, version)
        return replace(self, belief=belief, moments=self.moments.aged(version, discount))

    def observed(self, rollouts: Sequence[Rollout], *, version: int, prior: Prior, discount: float) -> "Evidence":
        """The row after a visit's rollouts, pilots and commits alike; each rollout must be observed exactly once.

        `version` is the weight version now; evidence is brought up to it first. Without rollouts it only ages.
        Raises InvalidInput for a reward that is not finite or a discount outside (0, 1].
        """
        successes = sum(rollout.correct for rollout in rollouts)
        pilots = [rollout.correct for rollout in rollouts if rollout.stage is Stage.PILOT]
        aged = self.aged(version, prior, discount)
        return replace(
            self,
            belief=aged.belief.updated(successes, len(rollouts) - successes),
            moments=aged.moments.updated([rollout.reward for rollout in rollouts]),
            graded=self.graded or any(rollout.reward != float(rollout.correct) for rollout in rollouts),
            last_pilot=PilotCount(successes=sum(pilots), count=len(pilots), version=version)
            if pilots
            else self.last_pilot,
            tokens_per_rollout=_merged_mean(self.tokens_per_rollout, aged.moments.weight, rollouts),
            num_pilots=self.num_pilots + len(pilots),
            num_commits=self.num_commits + sum(rollout.stage is Stage.COMMIT for rollout in rollouts),
            num_correct=self.num_correct + successes,
        )

    def judged(self, verdict: Verdict, reason: str) -> "Evidence":
        """The row after its visit ended with this verdict: exactly one call a visit."""
        repeated = self.streak + 1 if verdict is self.last_verdict else 1
        streak = 0 if verdict is Verdict.COMMIT else repeated
        return replace(self, visits=self.visits + 1, streak=streak, last_verdict=verdict, reason=reason)

    def passed_over(self, reason: str) -> "Evidence":
        """The row after history alone judged the prompt: a turn is over, but nothing was seen that a streak counts."""
        return replace(self, visits=self.visits + 1, reason=reason)


def _merged_mean(mean: float, weight: float, rollouts: Sequence[Rollout]) -> float:
    if not rollouts:
        return mean
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    return (weight * mean + tokens) / (weight + len(rollouts))
