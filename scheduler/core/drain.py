"""When a run stops claiming, and why.

Owns: the rule that ends admission. Never changes a state itself. Invariant: a run drains only when nothing it could
still claim would be paid for, needed or found; until then it waits.
"""

from dataclasses import dataclass

from scheduler.core.lifecycle import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a run knows of itself at one moment."""

    step: int
    """Last step applied."""
    max_steps: int | None
    elapsed_s: float
    """Since its first claim."""
    wall_clock_s: float | None
    largest_claim_fits: bool
    """Whether the largest claim would fit if every open reservation were refunded."""
    claim_waits_for_budget: bool
    """Whether the last claim did not fit what is left."""
    nothing_to_claim: bool
    """Whether no prompt is claimable now or at any later weight version."""
    num_visits: int
    """Open visits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Admission is over."""

    end: RunState
    """The state the run ends in once all it holds is trained and saved."""
    reason: str


def why_drain(now: Situation) -> Drain | None:
    """The reason to stop claiming, or None to go on."""
    if now.max_steps is not None and now.step >= now.max_steps:
        return Drain(end=RunState.FINISHED, reason=f"all {now.max_steps} steps are done")
    if now.wall_clock_s is not None and now.elapsed_s >= now.wall_clock_s:
        return Drain(end=RunState.EXHAUSTED, reason=f"the wall-clock budget of {now.wall_clock_s:g} s is used up")
    if not now.largest_claim_fits:
        return Drain(end=RunState.EXHAUSTED, reason="what is left of the budget cannot fund another group")
    if now.num_visits == 0 and now.claim_waits_for_budget:
        return Drain(end=RunState.EXHAUSTED, reason="what is left of the budget cannot fund another group")
    if now.num_visits == 0 and now.nothing_to_claim:
        return Drain(end=RunState.FINISHED, reason="no prompt is left to claim")
    return None
