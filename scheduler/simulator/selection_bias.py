"""What choosing prompts by their pilots, and then training on those pilots, does to the gradient.

Owns: closed forms for a rule that commits a prompt if the number of right pilots lies in a band. Never simulates.

Rewards are binary with success rate p. Of one rollout E[∇log π | right] = ∇p / p and E[∇log π | wrong] = -∇p / (1 - p),
so for a group of n rollouts of which K are right, whatever chose it by its rewards,

    E[Σ (r - r̄) ∇log π | K] = K (1 - K/n) ∇p / p + (n - K) (K/n) ∇p / (1 - p) = K (n - K) / (n p (1 - p)) ∇p,

and n / (n - 1) times that with leave-one-out advantages. Unselected, K is Binomial(n, p), E[K (n - K)] is
n (n - 1) p (1 - p), and the sum n ∇p: unbiased. Given a commit, K = k + Binomial(c, p) with k the right pilots, so that
selection scales a prompt's gradient by E[K (n - K) | k in the band] / (n (n - 1) p (1 - p)) and never turns it.
"""

from dataclasses import dataclass
from math import comb, fsum

from scheduler.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Commit a prompt exactly if `low` to `high` of its pilots are right; train on pilots and commits together.

    Raises InvalidInput for a band that is empty, or not within the pilots.
    """

    pilots: int
    """m."""
    commits: int
    """c."""
    low: int
    high: int
    """Right pilots, both ends included."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= self.pilots:
            raise InvalidInput(f"no band of {self.low} to {self.high} among {self.pilots} pilots", field="band")
        if self.commits < 0 or self.group_size < 2:
            raise InvalidInput(f"a group of {self.group_size} compares nothing", field="commits")

    @property
    def group_size(self) -> int:
        """n = m + c."""
        return self.pilots + self.commits

    def _masses(self, rate: float) -> list[tuple[int, float]]:
        """(right pilots, their probability) within the band."""
        if not 0.0 < rate < 1.0:
            raise InvalidInput(f"a success rate of {rate} leaves nothing to choose: it lies within (0, 1)", field="p")
        m = self.pilots
        return [(k, comb(m, k) * rate**k * (1.0 - rate) ** (m - k)) for k in range(self.low, self.high + 1)]

    def commit_probability(self, rate: float) -> float:
        """P(a prompt of this success rate is committed). Raises InvalidInput unless 0 < rate < 1, as all of these."""
        return fsum(mass for _, mass in self._masses(rate))

    def pilot_mean(self, rate: float) -> float:
        """Expected success rate of the pilots of a committed prompt: what feeding back only those would believe."""
        masses = self._masses(rate)
        return fsum(k * mass for k, mass in masses) / fsum(mass for _, mass in masses) / self.pilots

    def gradient_factor(self, rate: float) -> float:
        """Gradient of a committed prompt ÷ its gradient without selection, leave-one-out advantages."""
        masses = self._masses(rate)
        products = fsum(self._expected_product(k, rate) * mass for k, mass in masses)
        unselected = self.group_size * (self.group_size - 1) * rate * (1.0 - rate)
        return products / fsum(mass for _, mass in masses) / unselected

    def _expected_product(self, right_pilots: int, rate: float) -> float:
        """E[K (n - K)] with K = k + Binomial(c, p)."""
        mean = right_pilots + self.commits * rate
        return mean * (self.group_size - mean) - self.commits * rate * (1.0 - rate)

    def weight(self, rate: float) -> float:
        """w(p): how much a prompt of this success rate weighs in the whole training, relative to no selection."""
        return self.commit_probability(rate) * self.gradient_factor(rate)
