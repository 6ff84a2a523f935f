"""The breaker of one run at work.

Owns: what the breaker is told and asked, its log lines and the count of its trips. Never claims and never changes the
run's state: an operator's pause is another thing. Invariant: a trip is logged with its reason and counted in the
ledger.
"""

import time
from collections.abc import Callable

import structlog

from scheduler.core.breaker import Breaker, BreakerLimits, BreakerState, trips_counter
from scheduler.state.runs import RunStore
from scheduler.state.transaction import Transactor

log = structlog.get_logger(__name__)


class Circuit:
    """Follows how a run's attempts end, and says how many prompts it may claim."""

    def __init__(
        self,
        limits: BreakerLimits,
        *,
        run_id: str,
        runs: RunStore,
        transactor: Transactor,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = Breaker(limits=limits)
        self._run_id = run_id
        self._runs = runs
        self._transactor = transactor
        self._now = now

    async def observe(self, *, good: int, failed: int, lost: int) -> None:
        """Some attempts have ended: with a rollout, failed, or lost."""
        before = self.breaker
        self._change(before.observed(good=good, failed=failed, lost=lost, now=self._now()))
        tripped_by = self.breaker.tripped_by
        if self.breaker.num_trips > before.num_trips and tripped_by is not None:
            await self._runs.count(self._transactor, trips_counter(tripped_by))

    def claims(self, wanted: int, num_piloting: int) -> int:
        """Of the claims wanted, how many may be made now."""
        self._change(self.breaker.at(self._now()))
        return self.breaker.claims(wanted, num_piloting)

    @property
    def retry_in_s(self) -> float:
        """Seconds until an open breaker lets claims through again; 0 for any other."""
        return max(0.0, self.breaker.open_until - self._now()) if self.breaker.state is BreakerState.OPEN else 0.0

    def waiting_for(self) -> str:
        """What the breaker keeps the run waiting for; empty while it is closed."""
        match self.breaker.state:
            case BreakerState.OPEN:
                return f"fewer failures: {self.breaker.reason}; claims are tried again in {self.retry_in_s:.0f} s"
            case BreakerState.HALF_OPEN:
                return f"fewer failures: {self.breaker.reason}; a few claims are being tried"
            case BreakerState.CLOSED:
                return ""

    def _change(self, after: Breaker) -> None:
        before, self.breaker = self.breaker, after
        if after.state is before.state:
            return
        log.warning(
            "breaker",
            run=self._run_id,
            state=after.state,
            tripped_by=after.tripped_by or before.tripped_by,
            reason=after.reason,
            retry_in_s=round(self.retry_in_s, 3),
        )
