"""A reward that a random policy sometimes earns: imported by the scheduler's reward workers.

Owns: what counts as right in the end-to-end tests. Pure.
"""

from collections.abc import Mapping


def starts_even(text: str, answer: str, metadata: Mapping[str, object]) -> bool:
    """Whether the first character has an even code: about half of what a random policy writes."""
    return bool(text) and ord(text[0]) % 2 == 0


def starts_odd(text: str, answer: str, metadata: Mapping[str, object]) -> bool:
    """The opposite, for a pool that is mixed with one of the other reward."""
    return bool(text) and ord(text[0]) % 2 == 1
