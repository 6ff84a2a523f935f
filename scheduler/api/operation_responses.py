"""What the API answers about the scheduler itself.

Owns: the response models of its health and of how rewards are shut in.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.rewards.isolation import Isolation, Measure


class Health(Response):
    """The process answers."""

    status: str
    version: str
    """Of pilotcommit."""
    now: float
    """Its clock, in seconds since the epoch."""


class RewardIsolation(Response):
    """How the processes that judge completions are shut in."""

    started: bool
    """Whether one has started yet; before, nothing is known."""
    in_force: list[Measure]
    missing: dict[Measure, str]
    """What the system did not grant, and what it said."""

    @classmethod
    def of(cls, isolation: Isolation | None) -> Self:
        """As the newest process reported it."""
        known = isolation or Isolation()
        return cls(started=isolation is not None, in_force=list(known.in_force), missing=dict(known.missing))
