"""Incomplete groups: those that some attempts gave no rollout for.

Owns: what a run can do about them, and the words for what became of them. Never does it.
"""

from enum import StrEnum


class IncompletePolicy(StrEnum):
    """What is done where attempts of a group are lost or failed."""

    REFILL = "refill"
    """They are made again, within `max_attempts`; a group whose attempts stay lost is dropped."""
    ACCEPT = "accept"
    """A group that its rule has committed to is published from its least number of rollouts on; below, as refill."""
    DROP = "drop"
    """Nothing is made again: the group is dropped and its prompt comes back."""


class Shortfall(StrEnum):
    """What became of a group that some attempts gave no rollout for."""

    REFILLED = "refilled"
    """Published whole, with attempts made again."""
    ACCEPTED = "accepted"
    """Published without those that were lost or failed."""
    CUT = "cut"
    """Published without its stragglers."""
    DROPPED = "dropped"
    """Not published."""


def shortfall_counter(shortfall: Shortfall) -> str:
    """The name of the ledger's counter of such groups."""
    return f"incomplete:{shortfall}"
