"""How far the two halves of an update agree: the cosine between their gradients.

Owns: setting the first half's gradients aside, the cosine, and putting both together again. Never computes a gradient.
Invariant: afterwards each parameter's gradient is the sum of both halves', as if nothing had been measured.

A cosine near 1 says that the update is mostly signal, near 0 that it is mostly noise: for independent halves its
expectation is about S / (S + N), with S the squared length of the true gradient and N the variance of a half's. It is
what the gradient noise scale of McCandlish et al. (1812.06162, section 2.2) is made of, read off a single batch.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from learner.ranks import ALONE, Ranks
from learner.sharding import own


class FirstHalf:
    """The gradients of an update's first half, set aside: the second half then accumulates from nothing."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._parameters = list(parameters)
        # Moved, not copied: the second half's gradients are the only additional memory.
        self._gradients = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None

    def join(self, ranks: Ranks = ALONE) -> float | None:
        """Add the first half back to the second; returns their cosine, None where it is not a finite number.

        Of sharded parameters each of the `ranks` multiplies its own part, and all of them get the same cosine.
        """
        dot = first_square = second_square = 0.0
        for parameter, first in zip(self._parameters, self._gradients, strict=True):
            second = parameter.grad
            if first is None:
                second_square += _dot(second, second)
                continue
            dot += _dot(first, second)
            first_square += _dot(first, first)
            second_square += _dot(second, second)
            parameter.grad = first if second is None else second.add_(first)
        self._gradients.clear()
        dot, first_square, second_square = ranks.total([dot, first_square, second_square])
        length = math.sqrt(first_square) * math.sqrt(second_square)
        cosine = dot / length if length > 0.0 else math.nan
        return max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None


@torch.no_grad()
def _dot(left: Tensor | None, right: Tensor | None) -> float:
    return 0.0 if left is None or right is None else float(torch.dot(own(left).flatten(), own(right).flatten()))
