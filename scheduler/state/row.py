"""What is kept of a prompt: its row, the entries of its history, and both together for people.

Owns: these values. Never reads or writes them: `scheduler.state.table` does.
"""

from dataclasses import dataclass, field

from scheduler.core.informativeness import Evidence
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prompt's row."""

    evidence: Evidence
    next_version: int | None = 0
    """Weight version at which it is claimable again; None is never."""
    lost_visits: int = 0
    """Consecutive visits whose attempts were lost every time: a prompt that kills servers is quarantined."""
    failed_visits: int = 0
    """Consecutive visits that came to nothing because rewards failed: quarantined like the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a prompt's history."""

    at: float
    """Seconds since the epoch."""
    version: int
    what: str
    """Verdict, published, trained, expired, passed_over, quarantined, reinstated."""
    reason: str = ""
    pilots: int = 0
    correct: int = 0
    group_id: str = ""
    step: int | None = None
    visit_id: str = ""
    """The visit that ended so; a group has the id of the visit it was made in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedRow:
    """A prompt that its history alone judged."""

    prompt_id: str
    row: Row
    verdict: Verdict
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptView:
    """What an operator sees of a prompt."""

    prompt_id: str
    state: PromptState
    row: Row | None
    history: tuple[Event, ...] = field(default=())
