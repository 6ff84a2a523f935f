"""How often somebody may ask.

Owns: the decision. Pure. Invariant: over any time nobody is let through more often than the burst and the rate times
that time; whoever keeps below the rate always is.
"""

from collections import OrderedDict
from dataclasses import dataclass

_MOST_CALLERS = 10_000
"""Remembered at once: beyond it those heard of longest ago are forgotten, which is to their advantage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate that may be exceeded for a while."""

    per_s: float
    """Requests a second in the long run; above 0."""
    burst: float
    """Requests at once, after a long enough silence; at least 1."""


class Callers:
    """Who asked how often; one number each."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._paid_until: OrderedDict[str, float] = OrderedDict()
        """When each caller's requests so far would have been due at the rate."""

    def admit(self, caller: str, now: float) -> float:
        """0 if the caller may ask now, which then counts; else the seconds after which it may."""
        interval = 1.0 / self._rate.per_s
        due = max(self._paid_until.get(caller, now), now) + interval
        wait = due - now - self._rate.burst * interval
        if wait > 1e-9:
            return wait
        self._paid_until[caller] = due
        self._paid_until.move_to_end(caller)
        if len(self._paid_until) > _MOST_CALLERS:
            self._paid_until.popitem(last=False)
        return 0.0
