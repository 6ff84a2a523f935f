"""An open visit, and what happens to it.

Owns: what is stored of a visit under way, and a change of it that is not written yet. Never reads or writes. Invariant:
a change is written whole with the one that follows it, or by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scheduler.core.types import Rollout, Stage, Verdict
from scheduler.state.records import Attempt
from scheduler.state.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One open visit to a prompt, as it is stored."""

    visit_id: str
    prompt_id: str
    fence: int
    """The scheduler incarnation that opened or resumed it."""
    reserved: int
    """Rollouts reserved and not yet launched."""
    in_flight: Mapping[Stage, int] = field(default_factory=dict)
    held: Mapping[Stage, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What became of visits that were to be opened."""

    visits: tuple[Visit, ...]
    """Those that are open now."""
    refused: tuple[Visit, ...] = ()
    """Those whose prompts are not claimable."""
    is_out_of_budget: bool = False
    """The rest did not fit the budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What became of attempts that are no longer in flight; each count is charged."""

    stage: Stage
    rollouts: tuple[Rollout, ...] = ()
    failed: int = 0
    failed_tokens: int = 0
    lost: int = 0
    cancelled: int = 0
    expired: int = 0
    """Called back as too stale."""
    cut: int = 0
    """Called back as stragglers."""
    recalled_tokens: int = 0
    """What those called back are charged."""
    prompt_tokens: int = 0

    @property
    def count(self) -> int:
        """Attempts that landed."""
        return len(self.rollouts) + self.failed + self.lost + self.cancelled + self.expired + self.cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is kept of a visit beside its books, for explanations and counts."""

    attempts: tuple[Attempt, ...] = ()
    """Every attempt made so far."""
    rollouts: tuple[Rollout, ...] = ()
    """Every rollout that came back."""
    unjudged: tuple[Rollout, ...] = ()
    """Rollouts that came back and that no evidence counts, as those of a cancelled run: only their texts are kept."""
    last_verdict: Verdict | None = None
    """How the prompt was judged last, before this visit; None if it never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be written of an open visit, with everything before it that was not written by itself."""

    transaction: Transaction
    visit: Visit
    """As it will be."""
    held: tuple[Rollout, ...] = ()
    """Rollouts to be kept with the visit while it is open; empty leaves those that are."""
    attempts: tuple[Attempt, ...] = ()
    """For its record; empty leaves that as it is."""

    def to(self, visit: Visit, *, held: Sequence[Rollout] = (), attempts: Sequence[Attempt] = ()) -> "Change":
        """The same with one more move of the visit; what is newly held or attempted takes the place of what was."""
        return replace(self, visit=visit, held=tuple(held) or self.held, attempts=tuple(attempts) or self.attempts)
