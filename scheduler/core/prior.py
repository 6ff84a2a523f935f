"""The prior of a pool: how its success rates are spread before a prompt is visited.

Owns: the Beta prior and its empirical-Bayes fit to what the pool has shown so far. Never looks at a single prompt.
Invariant: whatever the counts, the fitted prior is proper and keeps every success rate possible.

Shape suffixes: G points of a search grid, I successive integers from 0.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Beta(a0, b0) over the success rates of a pool; the default knows nothing. Raises InvalidInput unless both > 0."""

    a0: float = 1.0
    b0: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.a0 < math.inf and 0 < self.b0 < math.inf):
            raise InvalidInput(f"a prior needs finite a0 > 0 and b0 > 0, not {self.a0} and {self.b0}", field="prior")

    @property
    def mean(self) -> float:
        """E[p]."""
        return self.a0 / (self.a0 + self.b0)

    @property
    def strength(self) -> float:
        """Rollouts that it is worth."""
        return self.a0 + self.b0


# The fit searches logit(mean) and log(strength) of the prior. These bounds and the floor keep a pool that happens to be
# all right or all wrong from being written off: one surprise still moves any belief.
_LARGEST_LOGIT = 4.6
_SMALLEST_LOG_STRENGTH, _LARGEST_LOG_STRENGTH = math.log(0.1), math.log(100.0)
_FLOOR = 0.05
_ZOOMS = 20


def fit_prior(counts: Sequence[tuple[int, int]]) -> Prior:
    """Fit a pool's Beta prior to (successes, total) of its prompts by penalised empirical Bayes.

    Maximises the BetaBinomial marginal likelihood times a weak hyper-prior worth a few prompts, Beta(2, 2) on the mean
    and a log-normal around 2 (one e-fold wide) on the strength a0 + b0: without counts that is Prior(1, 1), and a few
    or degenerate counts move it only a little. Raises InvalidInput unless 0 <= successes <= total.
    """
    return fit_counted_prior(Counter(counts))


def fit_counted_prior(prompts: Mapping[tuple[int, int], int]) -> Prior:
    """Likewise to how many prompts had each (successes, total): as cheap for ten million prompts as for ten."""
    for successes, total in prompts:
        if not 0 <= successes <= total:
            raise InvalidInput(f"{successes} successes out of {total}: needs 0 <= successes <= total")
    seen = np.array([(*pair, count) for pair, count in prompts.items() if pair[1]], dtype=np.int64).reshape(-1, 3)
    if not seen.size:
        return Prior()
    a, b = _most_likely(_Tails.of(seen[:, 0], seen[:, 1], seen[:, 2]))
    return Prior(a0=max(_FLOOR, a), b0=max(_FLOOR, b))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tails:
    """Sufficient statistics of a BetaBinomial sample: how many prompts have more than i successes, failures, rollouts.

    Γ(a+s)/Γ(a) is the product of a+i over i < s, so the likelihood needs only these counts and no gamma function.
    """

    successes: NDArray[np.float64]
    failures: NDArray[np.float64]
    totals: NDArray[np.float64]

    @classmethod
    def of(cls, successes: NDArray[np.int64], totals: NDArray[np.int64], prompts: NDArray[np.int64]) -> "_Tails":
        return cls(
            successes=_exceedances(successes, prompts),
            failures=_exceedances(totals - successes, prompts),
            totals=_exceedances(totals, prompts),
        )

    def log_likelihood(self, a_G: NDArray[np.float64], b_G: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log marginal likelihood at G points, up to a constant."""
        return _rising(a_G, self.successes) + _rising(b_G, self.failures) - _rising(a_G + b_G, self.totals)


def _exceedances(values: NDArray[np.int64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
    exceedances: NDArray[np.float64] = np.bincount(values, weights=prompts)[::-1].cumsum()[::-1][1:]
    return exceedances


def _rising(base_G: NDArray[np.float64], tails_I: NDArray[np.float64]) -> NDArray[np.float64]:
    logs_GI: NDArray[np.float64] = np.log(base_G[:, None] + np.arange(len(tails_I)))
    return logs_GI @ tails_I


def _most_likely(tails: _Tails) -> tuple[float, float]:
    """Zoom a small grid in on the best (logit mean, log strength): no gradient, no divergence, a fixed cost."""
    logit, log_strength = 0.0, math.log(2.0)
    reach = np.linspace(-1.0, 1.0, 7)
    width = _LARGEST_LOGIT
    for _ in range(_ZOOMS):
        logits = np.clip(logit + width * reach, -_LARGEST_LOGIT, _LARGEST_LOGIT)
        strengths = np.clip(log_strength + width * reach, _SMALLEST_LOG_STRENGTH, _LARGEST_LOG_STRENGTH)
        logit_G, log_strength_G = (grid.ravel() for grid in np.meshgrid(logits, strengths))
        mean_G = 1 / (1 + np.exp(-logit_G))
        strength_G = np.exp(log_strength_G)
        score_G = (
            tails.log_likelihood(mean_G * strength_G, (1 - mean_G) * strength_G)
            + np.log(mean_G * (1 - mean_G))
            - (log_strength_G - math.log(2.0)) ** 2 / 2
        )
        best = int(np.argmax(score_G))
        logit, log_strength = float(logit_G[best]), float(log_strength_G[best])
        width *= 0.6
    mean, strength = 1 / (1 + math.exp(-logit)), math.exp(log_strength)
    return mean * strength, (1 - mean) * strength
