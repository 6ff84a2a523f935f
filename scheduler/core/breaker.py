"""The failure-rate breaker of a run: claim nothing while most of what is asked for fails.

Owns: the rates, by class of failure, over the last attempts; when claiming stops, and when it is tried again. Pure: the
present moment is an argument, and every change gives a new value. Invariants: a rate is judged over a full window only;
an open breaker always becomes half-open by itself; a half-open one lets some claims through until it has been judged.

Closed -> open when the rate of a class passes its bound. Open -> half-open after a pause. Half-open -> closed when the
attempts made since then keep within both bounds, else -> open again, with a pause twice as long.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from scheduler.core.errors import InvalidInput

_MOST_DOUBLINGS = 32


class FailureClass(StrEnum):
    """Whose fault it is that an attempt gave no rollout."""

    INFRASTRUCTURE = "infrastructure"
    """It was lost: its server went away, did not answer in time or answered nonsense."""
    DATA = "data"
    """It came back and failed: the server refused it, or its reward raised or hung."""


class BreakerState(StrEnum):
    """Whether a run may claim."""

    CLOSED = "closed"
    """It may."""
    OPEN = "open"
    """Nothing is claimed until its pause is over."""
    HALF_OPEN = "half_open"
    """A few claims show whether it is better now."""


def trips_counter(failure: FailureClass) -> str:
    """The name of the ledger's counter of openings by a class of failure."""
    return f"breaker:{failure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """When a run stops claiming because of failures, and for how long."""

    window: int = 256
    """Attempts that a rate is taken over; one burst of losses should not fill it."""
    max_lost_rate: float = 0.5
    """Share of lost attempts above which nothing is claimed; 1 never trips."""
    max_failed_rate: float = 0.5
    """Share of failed attempts, of those that came back, above which nothing is claimed; 1 never trips."""
    pause_s: float = 5.0
    """Seconds until claims are tried again; twice as many after each trial that fails."""
    max_pause_s: float = 300.0
    """The longest pause."""
    trial_claims: int = 4
    """Prompts claimed at a time while it is tried again, and attempts that a trial is judged by at least."""

    def __post_init__(self) -> None:
        if self.trial_claims < 1:
            raise InvalidInput(f"{self.trial_claims} is below 1", field="breaker.trial_claims")
        if self.window < self.trial_claims:
            raise InvalidInput(
                f"{self.window} is below trial_claims, which is {self.trial_claims}", field="breaker.window"
            )
        for name, rate in (("max_lost_rate", self.max_lost_rate), ("max_failed_rate", self.max_failed_rate)):
            if not 0.0 < rate <= 1.0:
                raise InvalidInput(f"{rate} is not in (0, 1]; 1 never trips", field=f"breaker.{name}")
        if self.pause_s <= 0.0:
            raise InvalidInput(f"{self.pause_s} s is no pause", field="breaker.pause_s")
        if self.max_pause_s < self.pause_s:
            raise InvalidInput(
                f"{self.max_pause_s} s is below pause_s, which is {self.pause_s} s", field="breaker.max_pause_s"
            )

    def bound(self, failure: FailureClass) -> float:
        """The rate of a class above which nothing is claimed."""
        return self.max_lost_rate if failure is FailureClass.INFRASTRUCTURE else self.max_failed_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureWindow:
    """How the last attempts went: a bit for each, the newest lowest, set where one failed."""

    seen: int = 0
    bits: int = 0

    def observed(self, *, good: int, bad: int, size: int) -> "FailureWindow":
        """The last `size` attempts after more of them, of which the bad ones count as the newest."""
        bits = (self.bits << (good + bad)) | ((1 << bad) - 1)
        return FailureWindow(seen=min(size, self.seen + good + bad), bits=bits & ((1 << size) - 1))

    @property
    def num_failed(self) -> int:
        """Failed attempts among those seen."""
        return self.bits.bit_count()

    def exceeds(self, bound: float) -> bool:
        """Whether more than this share of them failed."""
        return self.num_failed > bound * self.seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker at one moment; it begins closed."""

    limits: BreakerLimits = field(default_factory=BreakerLimits)
    state: BreakerState = BreakerState.CLOSED
    tripped_by: FailureClass | None = None
    """The class of failure that opened it; None while it is closed."""
    reason: str = ""
    """Why it is not closed."""
    open_until: float = 0.0
    """While it is open, the moment at which claims are tried again."""
    num_trips: int = 0
    """Openings since it was closed last."""
    lost: FailureWindow = field(default_factory=FailureWindow)
    """Of all attempts."""
    failed: FailureWindow = field(default_factory=FailureWindow)
    """Of the attempts that came back."""

    def observed(self, *, good: int, failed: int, lost: int, now: float) -> "Breaker":
        """The breaker after some more attempts have ended; those called back say nothing and are not among them."""
        size = self.limits.window
        after = replace(
            self,
            lost=self.lost.observed(good=good + failed, bad=lost, size=size),
            failed=self.failed.observed(good=good, bad=failed, size=size),
        )
        if self.state is BreakerState.OPEN:
            return after
        over = after._over_its_bound(size if self.state is BreakerState.CLOSED else self.limits.trial_claims)
        if over is not None:
            return after._opened(over, now)
        return Breaker(limits=self.limits) if after._has_passed_its_trial else after

    def at(self, now: float) -> "Breaker":
        """The breaker at a later moment: half-open once its pause is over, with nothing held against it."""
        if self.state is not BreakerState.OPEN or now < self.open_until:
            return self
        return replace(self, state=BreakerState.HALF_OPEN, lost=FailureWindow(), failed=FailureWindow())

    def claims(self, wanted: int, num_piloting: int) -> int:
        """Of the claims wanted, how many may be made beside the visits that pilot already."""
        if self.state is BreakerState.CLOSED:
            return wanted
        if self.state is BreakerState.OPEN:
            return 0
        return max(0, min(wanted, self.limits.trial_claims - num_piloting))

    def window(self, failure: FailureClass) -> FailureWindow:
        """The attempts by which a class is judged."""
        return self.lost if failure is FailureClass.INFRASTRUCTURE else self.failed

    def _over_its_bound(self, least: int) -> FailureClass | None:
        """The first class whose rate is above its bound, over `least` attempts or more."""
        for failure in FailureClass:
            window = self.window(failure)
            if window.seen >= least and window.exceeds(self.limits.bound(failure)):
                return failure
        return None

    def _opened(self, failure: FailureClass, now: float) -> "Breaker":
        limits, window = self.limits, self.window(failure)
        what = "were lost" if failure is FailureClass.INFRASTRUCTURE else "that came back failed"
        pause_s = min(limits.max_pause_s, limits.pause_s * 2.0 ** min(self.num_trips, _MOST_DOUBLINGS))
        return replace(
            self,
            state=BreakerState.OPEN,
            tripped_by=failure,
            reason=f"{window.num_failed} of the last {window.seen} attempts {what}",
            open_until=now + pause_s,
            num_trips=self.num_trips + 1,
        )

    @property
    def _has_passed_its_trial(self) -> bool:
        """Whether enough attempts of the class that tripped it have been seen since, both rates being within bounds."""
        tripped_by = self.tripped_by
        return tripped_by is not None and self.window(tripped_by).seen >= self.limits.trial_claims
