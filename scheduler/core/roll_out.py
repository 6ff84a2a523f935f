"""How new weights go over a fleet: what becomes of requests in flight, and how many servers at once.

Owns: the modes of a pause, the orders of a roll-out, and when a server that takes requests may be closed for new
weights. Pure. Invariant: there is always one that may, so that a roll-out never stands still by itself.
"""

from dataclasses import dataclass
from enum import StrEnum


class PauseMode(StrEnum):
    """What becomes of the requests in flight when a server is given new weights."""

    RETRACT = "retract"
    """They go back to the waiting queue without their KV cache and are computed again on continue."""
    IN_PLACE = "in_place"
    """They are frozen with their KV cache, which the next weights then reuse."""
    ABORT = "abort"
    """They are aborted and answered with their partial tokens; takes at least a second."""


class RollOutOrder(StrEnum):
    """How many servers are closed for new weights at a time."""

    AT_ONCE = "at_once"
    """All of them, each at its own pace."""
    ROLLING = "rolling"
    """A share of them, one at least, while the others go on sampling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollOut:
    """The order in which a fleet is given new weights."""

    order: RollOutOrder = RollOutOrder.AT_ONCE
    share: float = 0.0
    """With ROLLING, the share of the fleet that is closed at a time; one server at least."""

    def may_close(self, *, num_closed: int, num_servers: int) -> bool:
        """Whether one more server that takes requests may be closed, of so many that serve the run.

        `num_closed`: those that are being given weights now and took requests before. One that took none is no loss.
        """
        if self.order is RollOutOrder.AT_ONCE:
            return True
        return num_closed < max(1, int(self.share * num_servers))


AT_ONCE = RollOut()
