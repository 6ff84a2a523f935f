"""Modelled pools: how success rates are spread over prompts, and how training moves them.

Owns: the shapes a pool can have, and one draw of a pool. Never decides who is trained. Invariant: a success rate stays
strictly between 0 and 1, so that no prompt is hopeless or solved for good.

A shape is a Beta distribution over p. Drift: a step that trains groups g of n_g rollouts moves logits, not rates,

    logit p_i += own x (sum over the groups g of prompt i of s_g) + shared x (sum over all groups g of s_g) / P,
    s_g = n_g / n x p_g (1 - p_g),

with P prompts in the pool, n the largest group and p_g the success rate that group g was trained at: what a group moves
is proportional to its signal, most of it at its own prompt and a little everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

_SMALLEST_RATE = 1e-9


class PoolName(StrEnum):
    """A shape that ships with the simulator."""

    FLAT = "flat"
    """Beta(1, 1): every success rate alike."""
    BROAD = "broad"
    """Beta(.4, .5): more at the ends than in the middle."""
    U_SHAPED = "u_shaped"
    """Beta(.2, .3): most prompts hopeless or trivial, as in a base model's pools."""
    HARD = "hard"
    """Beta(.3, 1): most prompts hopeless."""
    EASY = "easy"
    """Beta(1, .3): most prompts trivial."""
    UNEVEN = "uneven"
    """U-shaped, and some prompts' rollouts are 16 times as long as others'."""
    DRIFTING = "drifting"
    """U-shaped, and learning moves it."""
    DRIFTING_HARD = "drifting_hard"
    """Hard, and learning moves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShape:
    """How success rates are spread, and how far training moves them."""

    a: float
    b: float
    """Of Beta(a, b)."""
    own: float = 0.0
    """Logits that a prompt's own full group moves it by, per unit of p(1 - p)."""
    shared: float = 0.0
    """Logits that the pool moves by once as many full groups were trained as it has prompts, per unit of p(1 - p)."""

    longest: int = 1
    """Tokens of a prompt's rollouts: 1, 2, 4 and so on up to this, each as likely, whatever its success rate."""

    @property
    def drifts(self) -> bool:
        """Whether training moves it."""
        return self.own > 0.0 or self.shared > 0.0

    def draw(self, num_prompts: int, rng: np.random.Generator) -> "Pool":
        """A pool of so many prompts."""
        rates = rng.beta(self.a, self.b, size=num_prompts)
        return Pool(self, rates, 2 ** rng.integers(self.longest.bit_length(), size=num_prompts))

    @property
    def is_even(self) -> bool:
        """Whether all rollouts are of one length."""
        return self.longest == 1


SHAPES: Mapping[PoolName, PoolShape] = MappingProxyType(
    {
        PoolName.FLAT: PoolShape(a=1.0, b=1.0),
        PoolName.BROAD: PoolShape(a=0.4, b=0.5),
        PoolName.U_SHAPED: PoolShape(a=0.2, b=0.3),
        PoolName.HARD: PoolShape(a=0.3, b=1.0),
        PoolName.EASY: PoolShape(a=1.0, b=0.3),
        PoolName.UNEVEN: PoolShape(a=0.2, b=0.3, longest=16),
        PoolName.DRIFTING: PoolShape(a=0.2, b=0.3, own=2.0, shared=12.0),
        PoolName.DRIFTING_HARD: PoolShape(a=0.3, b=1.0, own=2.0, shared=12.0),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One trained group, as far as it moves a pool."""

    prompt: int
    weight: float
    """n_g / n: its rollouts as a share of the largest group."""


class Pool:
    """One draw of a shape: the true success rates, which no allocator sees, and lengths, which rollouts show."""

    def __init__(self, shape: PoolShape, rates: NDArray[np.float64], lengths: NDArray[np.int64] | None = None) -> None:
        self._shape = shape
        clipped = np.clip(rates, _SMALLEST_RATE, 1.0 - _SMALLEST_RATE)
        self._logits = np.log(clipped) - np.log1p(-clipped)
        self.rates: list[float] = clipped.tolist()
        """True success rate by prompt, now."""
        self.lengths: list[int] = [1] * len(rates) if lengths is None else lengths.tolist()
        """Tokens of each rollout, by prompt."""

    def __len__(self) -> int:
        return len(self.rates)

    @property
    def mean(self) -> float:
        """Mean success rate: what an evaluation on the pool would measure."""
        return sum(self.rates) / len(self.rates)

    def variance(self, prompt: int) -> float:
        """p(1 - p): the signal of one of its rollouts."""
        rate = self.rates[prompt]
        return rate * (1.0 - rate)

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Move success rates as a step on these groups does; a shape that does not drift stays."""
        if not self._shape.drifts:
            return
        total = 0.0
        for lesson in lessons:
            signal = lesson.weight * self.variance(lesson.prompt)
            self._logits[lesson.prompt] += self._shape.own * signal
            total += signal
        self._logits += self._shape.shared * total / len(self)
        rates = 1.0 / (1.0 + np.exp(-self._logits))
        self.rates = np.clip(rates, _SMALLEST_RATE, 1.0 - _SMALLEST_RATE).tolist()
