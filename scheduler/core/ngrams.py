"""What a prompt's tokens are compared by.

Owns: a prompt as a set of token n-grams, hashed into a fixed number of places. Never looks at text, so it asks nothing
of a language. Invariant: the same tokens give the same places, in every process.

Shape suffix: F places that are set, in order, each once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUM_PLACES = 4096
_LONGEST = 3
"""Tokens of the longest n-gram."""
_LAST_TOKENS = 256
"""Only the end of a prompt is looked at: it is where it asks, and what comes before is often shared by all prompts."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2**64 / golden ratio, as in Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4): its
high bits differ where neighbouring numbers go in."""
_PLACE_BITS = np.uint64(64 - NUM_PLACES.bit_length() + 1)

Ngrams = NDArray[np.uint16]


def ngrams(input_ids: Sequence[int]) -> Ngrams:
    """The places (F,) of a prompt's n-grams of one to three tokens; at most 768 of them."""
    ids = np.array(input_ids[-_LAST_TOKENS:], dtype=np.uint64) + np.uint64(1)
    grams, hashes = ids * _MULTIPLIER, []
    for length in range(1, _LONGEST + 1):
        hashes.append(grams >> _PLACE_BITS)
        grams = (grams[: max(0, len(grams) - 1)] + ids[length:]) * _MULTIPLIER
    return np.unique(np.concatenate(hashes)).astype(np.uint16)
