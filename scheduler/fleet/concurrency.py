"""How many attempts a server is given at once.

Owns: additive increase, multiplicative decrease (Chiu and Jain, Computer Networks and ISDN Systems 17 (1), 1989) by
what the server says of its queue and KV cache. Pure. Invariants: the result is between 1 and the ceiling, and no less
than what the server runs; nothing grows that is not used, and nothing shrinks before the last cut has taken effect.

An attempt that queues at the server is worse placed than one that waits here: it cannot go to another server, is not
overtaken by an evaluation, and is retracted or aborted with the rest when weights change. A short queue keeps the
server busy between two decode steps; a full KV cache makes it retract what it has half done.
"""

from inference.control import Load

_LONGEST_QUEUE = 0.25
"""Waiting attempts per running one, from which on a server has too many."""
_FULL_CACHE = 0.95
"""Share of the KV cache in use from which on waiting attempts are too many, however few."""
_KEPT = 0.75
"""Share of what is in flight that a cut leaves."""
_STEPS_TO_CEILING = 32
"""Looks it takes to grow from nothing to the ceiling."""


def adapted(capacity: int, load: Load, *, in_flight: int, ceiling: int, crowded_before: bool) -> int:
    """The capacity after a look at a server's load, with so many attempts in flight of at most `ceiling`.

    It is cut where the look before showed a crowd too: after a weight push everything waits for a moment.
    """
    if load.num_running + load.num_waiting > in_flight or in_flight > capacity:
        # An old report: a server makes none while it sleeps. Or a cut that still has to show.
        return capacity
    if is_crowded(load):
        if not crowded_before:
            return capacity
        return max(1, load.num_running, min(capacity, int(_KEPT * in_flight)))
    if in_flight == capacity:
        return min(ceiling, capacity + max(1, ceiling // _STEPS_TO_CEILING))
    return capacity


def is_crowded(load: Load) -> bool:
    """Whether more attempts wait at the server than keep it busy, or any for want of KV cache.

    Where nothing runs there is no telling: it is about to begin, or paused.
    """
    if not load.num_waiting or not load.num_running:
        return False
    return load.num_waiting > _LONGEST_QUEUE * load.num_running or load.token_usage >= _FULL_CACHE
