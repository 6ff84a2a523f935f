"""What the wording of a prompt says of its success rate, before it is visited.

Owns: the fit of a run's own visits to the n-grams of their prompts, and the prior that follows for one more. Never
learns from anything but the run. Invariants: there is a forecast only where it explains prompts that it was not fitted
to better than one prior for all of them; every prior it gives is proper.

Generalisable predictive prompt selection (arXiv 2602.01970) trains a small network beside the policy for this. Here it
is kernel ridge regression of observed success rates on n-grams, each weighted by how much prompts differ in it
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equation 2.25), with the closed form of its
leave-one-out predictions (equation 5.12): they say how far a prediction is to be trusted, so that a pool whose texts
tell nothing is left alone.

Shape suffixes: M visits, D places of an n-gram, F places set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.informativeness import discount_factor
from scheduler.core.ngrams import NUM_PLACES, Ngrams
from scheduler.core.prior import Prior

Floats = NDArray[np.float64]

_FEWEST = 32
"""Visits below which nothing is fitted."""
_NOISES = (0.3, 1.0, 3.0)
"""Ridge, in variances of a visit with the mean weight."""
_STRENGTHS = (0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.5, 6.0, 12.0)
"""Candidates for a0 + b0 of a forecast: rollouts that it is worth."""
_MARGIN_NATS = 5.0
"""Log likelihood by which a forecast has to be better than one prior for all: it was chosen among 27."""
_LEAST_RATE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a visit showed."""

    ngrams: Ngrams
    right: int
    count: int
    """Rollouts of the visit, pilots and commits."""
    version: int
    """Weight version at which it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A fitted forecast."""

    mean: float
    weights_D: Floats
    spread_D: Floats
    """Standard deviation of each place among the visits: neither what all prompts share nor what one has tells much."""
    strength: float
    """a0 + b0 of every prior it gives."""

    def prior(self, ngrams: Ngrams) -> Prior:
        """The prior of a prompt with these n-grams."""
        values_F = self.spread_D[ngrams]
        length = math.sqrt(float(values_F @ values_F)) or 1.0
        rate = self.mean + float(values_F @ self.weights_D[ngrams]) / length
        rate = min(1 - _LEAST_RATE, max(_LEAST_RATE, rate))
        return Prior(a0=self.strength * rate, b0=self.strength * (1 - rate))


def fit_forecast(seen: Sequence[Seen], prior: Prior, *, version: int, discount: float) -> Forecast | None:
    """A forecast from the latest visits, at a weight version; None where it is no better than `prior` for all.

    What is `d` versions old has discount**d of its weight. Takes some milliseconds for hundreds of visits: M**3.
    """
    seen = [visit for visit in seen if visit.count]
    if len(seen) < _FEWEST:
        return None
    right_M = np.array([visit.right for visit in seen], dtype=np.float64)
    count_M = np.array([visit.count for visit in seen], dtype=np.float64)
    kept_M = np.array([discount_factor(discount, version - visit.version) for visit in seen])
    weight_M = count_M * kept_M
    spread_D, texts_MD = _texts([visit.ngrams for visit in seen])
    mean = float(np.average(right_M / count_M, weights=weight_M))
    kernel_MM = texts_MD @ texts_MD.T
    outcomes = _Outcomes.of(right_M, count_M, kept_M)
    best = outcomes.log_likelihood(np.full(len(seen), prior.mean), prior.strength) + _MARGIN_NATS
    answer: tuple[Floats, float] | None = None
    for noise in _NOISES:
        inverse_MM = np.linalg.inv(kernel_MM + np.diag(noise * weight_M.mean() / weight_M))
        dual_M = inverse_MM @ (right_M / count_M - mean)
        left_out_M = right_M / count_M - dual_M / np.diag(inverse_MM)
        for strength in _STRENGTHS:
            score = outcomes.log_likelihood(left_out_M, strength)
            if score > best:
                best, answer = score, (dual_M, strength)
    if answer is None:
        return None
    dual_M, strength = answer
    return Forecast(mean=mean, weights_D=dual_M @ texts_MD, spread_D=spread_D, strength=strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcomes:
    """What M visits came to, for their BetaBinomial likelihood: which of I successive rollouts each of them has.

    What has faded counts for less here too, else a forecast that is right now would be held against what was.
    """

    right_MI: Floats
    wrong_MI: Floats
    all_MI: Floats

    @classmethod
    def of(cls, right_M: Floats, count_M: Floats, kept_M: Floats) -> "_Outcomes":
        steps_I, kept_M1 = np.arange(count_M.max()), kept_M[:, None]
        return cls(
            right_MI=kept_M1 * (steps_I < right_M[:, None]),
            wrong_MI=kept_M1 * (steps_I < (count_M - right_M)[:, None]),
            all_MI=kept_M1 * (steps_I < count_M[:, None]),
        )

    def log_likelihood(self, rate_M: Floats, strength: float) -> float:
        """Of visits whose success rates are Beta(strength x rate, strength x (1 - rate)), up to a constant."""
        rate_M = np.clip(rate_M, _LEAST_RATE, 1 - _LEAST_RATE)
        steps_I = np.arange(self.all_MI.shape[1])
        a_MI = np.log(strength * rate_M[:, None] + steps_I)
        b_MI = np.log(strength * (1 - rate_M)[:, None] + steps_I)
        return float(
            np.vdot(a_MI, self.right_MI)
            + np.vdot(b_MI, self.wrong_MI)
            - (self.all_MI @ np.log(strength + steps_I)).sum()
        )


def _texts(ngrams: Sequence[Ngrams]) -> tuple[Floats, Floats]:
    """How much the visits differ in each place, and the visits' texts as unit vectors."""
    texts_MD = np.zeros((len(ngrams), NUM_PLACES))
    for text_D, places in zip(texts_MD, ngrams, strict=True):
        text_D[places] = 1.0
    spread_D: Floats = texts_MD.std(axis=0)
    texts_MD *= spread_D
    length_M = np.linalg.norm(texts_MD, axis=1, keepdims=True)
    return spread_D, texts_MD / np.where(length_M > 0, length_M, 1.0)
