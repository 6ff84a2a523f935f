"""How many completions go into one request.

Owns: the bounds. Pure. Invariant: a batch has at least one completion, however long, and else never exceeds a bound.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a reward server is asked."""

    batch: int = 64
    """Completions in one request, at most."""
    wait_s: float = 0.05
    """How long the first of them waits for others."""
    requests: int = 8
    """Requests in flight at once; what comes meanwhile waits, and makes larger batches."""
    timeout_s: float = 60.0
    """How long one request may take."""
    tries: int = 3
    """How often a batch is sent, where what went wrong may pass."""
    connect_s: float = 5.0
    """How long a connection may take."""
    most_bytes: int = _MOST_BYTES
    """Of completions in one request."""

    def first(self, sizes: Iterable[int]) -> int:
        """How many of those that wait, with their bytes, are the next batch."""
        count, total = 0, 0
        for size in sizes:
            total += size
            if count == self.batch or (count and total > self.most_bytes):
                break
            count += 1
        return count


DEFAULT = Terms()
"""What a scheduler asks by that was told nothing else."""
