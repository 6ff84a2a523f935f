"""What a visit to a prompt is worth at a price per rollout, and what the price is.

Owns: the renewal game that `adaptive` plays (its docstring has the equation) and the price it is played at. Never
chooses a prompt. Invariant: what a visit is worth falls as the price rises.

Shape suffixes: C candidates, S right pilots so far from 0, J right pilots among the next, N sizes a group may have.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scheduler.core.allocators.interface import Experience
from scheduler.core.errors import InvalidInput
from scheduler.core.prior import Prior
from scheduler.core.types import Verdict

Floats = NDArray[np.float64]

_LARGEST_VARIANCE, _SURE = 0.25, 1.0
_HALVINGS = 30
_KEPT = 0.75
"""Share of the price that a step's own ratio leaves: one step of eight groups is noisy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What may come of each of C visits from here on, net of the price of the rollouts still to be made."""

    commit_C: Floats
    """Of committing now."""
    size_C: NDArray[np.int64]
    """The group size that this is worth most at."""
    more_C: Floats
    """Of a few pilots more; -inf where there may be none."""

    @property
    def worth_C(self) -> Floats:
        """Of the better of the two; not positive where the visit is best given up."""
        return np.maximum(self.commit_C, self.more_C)


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """What may be done in a visit. Raises InvalidInput for sizes that leave nothing to do."""

    pilot_step: int
    """t: pilots asked for at a time."""
    most_pilots: int
    smallest_group: int
    largest_group: int
    round_cost: float = 0.0
    """Rollouts that it is worth to be spared one more round of pilots: it takes time, and makes a group older."""
    noise_scale: float | None = None
    """v: rollouts of a group at which their marginal worth has fallen to a quarter; None: it never falls."""
    normalised: bool = False
    """Whether every group with both outcomes counts alike, as its advantages do once they are divided by their
    standard deviation; else it counts by its variance."""

    def __post_init__(self) -> None:
        if not 1 <= self.pilot_step <= self.most_pilots:
            raise InvalidInput(
                f"pilot_step is 1 or more, and no more than pilots, which is {self.most_pilots}, not {self.pilot_step}",
                field="parameters.pilot_step",
            )
        if not 2 <= self.smallest_group <= self.largest_group:
            raise InvalidInput(
                f"smallest_group is between 2 and pilots + commits, which is {self.largest_group}, "
                f"not {self.smallest_group}",
                field="parameters.smallest_group",
            )
        if not 0 <= self.round_cost < math.inf:
            raise InvalidInput(
                f"round_cost is a number of rollouts, 0 or more, not {self.round_cost}", field="parameters.round_cost"
            )
        if self.noise_scale is not None and not 0 < self.noise_scale < math.inf:
            raise InvalidInput(
                f"noise_scale is a number of rollouts above 0, or null, not {self.noise_scale}",
                field="parameters.noise_scale",
            )

    def usefulness(self, sizes_N: Floats) -> Floats:
        """u(n) in rollouts."""
        return sizes_N if self.noise_scale is None else sizes_N / (1.0 + sizes_N / self.noise_scale)

    @property
    def dearest(self) -> float:
        """No rollout fetches more."""
        return _SURE if self.normalised else _LARGEST_VARIANCE

    def outlook(self, a_C: Floats, b_C: Floats, price_C: Floats, num_rollouts: int = 0, num_right: int = 0) -> Outlook:
        """The outlook of visits that have so many rollouts, with posterior Beta(a, b), at a price per rollout."""
        beyond_CS = np.zeros((len(a_C), 0))
        commit_CS, size_CS, more_CS = beyond_CS, np.zeros((len(a_C), 0), dtype=np.int64), beyond_CS
        counts = range(num_rollouts, max(num_rollouts, self.most_pilots) + 1, self.pilot_step)
        for count in reversed(counts):
            right_S = np.arange(count - num_rollouts + 1.0)
            a_CS, b_CS = a_C[:, None] + right_S, b_C[:, None] + right_S[::-1]
            commit_CS, size_CS = self._commit(a_CS, b_CS, price_C, count, num_right + right_S)
            if count == counts[-1]:
                more_CS = np.full_like(commit_CS, -np.inf)
            else:
                cost_C = price_C * (self.pilot_step + self.round_cost)
                more_CS = _expected(a_CS, b_CS, beyond_CS, self.pilot_step) - cost_C[:, None]
            beyond_CS = np.maximum(0.0, np.maximum(commit_CS, more_CS))
        return Outlook(commit_C=commit_CS[:, 0], size_C=size_CS[:, 0], more_C=more_CS[:, 0])

    def _commit(
        self, a_CS: Floats, b_CS: Floats, price_C: Floats, count: int, right_S: Floats
    ) -> tuple[Floats, NDArray[np.int64]]:
        """The best worth of committing, and the size it is reached at."""
        sizes_N = self._sizes(count)
        if self.normalised:
            value_CSN = _mixed(a_CS, b_CS, sizes_N.astype(np.int64) - count, right_S, count)
        else:
            total_CS = a_CS + b_CS
            value_CSN = (a_CS * b_CS / (total_CS * (total_CS + 1.0)))[..., None]
        worth_CSN = value_CSN * self.usefulness(sizes_N) - price_C[:, None, None] * (sizes_N - count)
        best_CS = worth_CSN.argmax(axis=-1)
        return worth_CSN.max(axis=-1), sizes_N.astype(np.int64)[best_CS]

    def _sizes(self, count: int) -> Floats:
        least = max(count, self.smallest_group)
        return np.append(np.arange(least, self.largest_group, self.pilot_step), max(least, self.largest_group)) * 1.0


def _mixed(a_CS: Floats, b_CS: Floats, more_N: NDArray[np.int64], right_S: Floats, count: int) -> Floats:
    """P(a group has both outcomes after so many rollouts more): 1 - B(a + m, b) / B(a, b) - B(a, b + m) / B(a, b).

    Less what its `count` rollouts have ruled out: those that differ already settle it.
    """
    drawn = np.arange(more_N.max())
    total_CSM = (a_CS + b_CS)[..., None] + drawn
    agree_CSN = np.zeros((*a_CS.shape, len(more_N)))
    for side_CS, may_agree_S in ((a_CS, right_S == count), (b_CS, right_S == 0)):
        ratio_CSM = (side_CS[..., None] + drawn) / total_CSM
        all_CSM = np.concatenate([np.ones_like(side_CS)[..., None], ratio_CSM.cumprod(axis=-1)], axis=-1)
        agree_CSN += all_CSM[..., more_N] * may_agree_S[:, None]
    mixed: Floats = _SURE - agree_CSN
    return mixed


def _expected(a_CS: Floats, b_CS: Floats, beyond_CS: Floats, num_pilots: int) -> Floats:
    """E over j ~ BetaBinomial(num_pilots; a, b) of the worth with j more right pilots."""
    rising_a, rising_b = _rising(a_CS, num_pilots), _rising(b_CS, num_pilots)
    ways_J = np.array([math.comb(num_pilots, right) for right in range(num_pilots + 1)], dtype=np.float64)
    probability_CSJ = ways_J * rising_a * rising_b[..., ::-1] / _rising(a_CS + b_CS, num_pilots)[..., -1:]
    windows_CSJ = np.lib.stride_tricks.sliding_window_view(beyond_CS, num_pilots + 1, axis=1)
    expected: Floats = (probability_CSJ * windows_CSJ).sum(axis=-1)
    return expected


def _rising(x_CS: Floats, most: int) -> Floats:
    """x (x + 1) ... (x + j - 1) for j from 0 to `most`, on a new last axis."""
    factors = x_CS[..., None] + np.arange(most)
    return np.concatenate([np.ones_like(factors[..., :1]), factors.cumprod(axis=-1)], axis=-1)


@lru_cache(maxsize=64)
def fair_price(game: Game, prior: Prior) -> float:
    """The price at which a prompt never visited is worth nothing: the best signal per rollout without any history."""
    a_C, b_C = np.array([prior.a0]), np.array([prior.b0])
    low, high = 0.0, game.dearest
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if game.outlook(a_C, b_C, np.array([middle])).worth_C[0] > 0:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What rollouts have lately fetched."""

    price: float | None = None
    """Signal per rollout; None before the first step."""
    prior: Prior = field(default_factory=Prior)
    tokens_per_rollout: float = 0.0
    """Mean tokens of a rollout; 0 before the first."""

    def price_in(self, game: Game) -> float:
        """The price now: what the run has attained, or what is attainable without history."""
        return self.price if self.price is not None else fair_price(game, self.prior)

    def after(self, game: Game, experience: Experience) -> "Market":
        """The market after a training step."""
        if not experience.num_rollouts:
            return Market(price=self.price, prior=experience.prior, tokens_per_rollout=self.tokens_per_rollout)
        fetched = experience.num_mixed if game.normalised else experience.signal
        attained = fetched * _usefulness_of_one(game, experience) / experience.num_rollouts
        before = self.price if self.price is not None else fair_price(game, experience.prior)
        return Market(
            price=_KEPT * before + (1 - _KEPT) * attained,
            prior=experience.prior,
            tokens_per_rollout=experience.num_tokens / experience.num_rollouts,
        )


def _usefulness_of_one(game: Game, experience: Experience) -> float:
    """u(n) / n at the mean size of the groups published."""
    groups = experience.visits.get(Verdict.COMMIT, 0)
    if not groups or not experience.num_grouped:
        return 1.0
    size = np.array([experience.num_grouped / groups])
    return float((game.usefulness(size) / size)[0])
