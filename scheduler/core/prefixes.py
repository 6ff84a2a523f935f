"""Beginnings that prompts have in common.

Owns: which of many prompts to compute first so that a prefix cache serves the others. Pure. Invariant: every prompt
shares at least half of its tokens with one that comes first, or comes first itself.
"""

from collections.abc import Sequence
from itertools import takewhile


def leaders(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Places of the prompts to compute first, in the order of their tokens.

    Requests that arrive together find nothing of each other in a server's cache: few-shot prompts, which differ in
    their last line only, would each be computed whole.
    """
    found: list[int] = []
    for place in sorted(range(len(prompts)), key=lambda place: list(prompts[place])):
        if not found or 2 * _shared(prompts[found[-1]], prompts[place]) < len(prompts[place]):
            found.append(place)
    return found


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens at the beginning that both have."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
