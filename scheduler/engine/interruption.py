"""Why a visit cannot go on, and what that means for its prompt.

Owns: the reasons and where they leave the prompt. Never ends a visit itself. Invariant: a prompt that only costs is set
aside after a bounded number of visits.
"""

from dataclasses import dataclass
from typing import Self

from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.state.row import Row

_FRUITLESS_VISITS_BEFORE_QUARANTINE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """Why a visit cannot go on."""

    outcome: Outcome
    reason: str
    detail: str = ""
    """What a reward raised: it may quote the answer, so the history has it and logs do not."""
    quarantine: bool = False
    failed_visits: int = 0
    """Visits in a row, this one included, that came to nothing because rewards failed."""

    @classmethod
    def short(cls, num_rollouts: int, wanted: int, detail: str, *, failed_visits: int) -> Self:
        """Too few rewards came of the attempts; `failed_visits` in a row, this one included."""
        return cls(
            outcome=Outcome.INCOMPLETE,
            reason=f"{num_rollouts} of {wanted} rollouts have a reward",
            detail=detail,
            failed_visits=failed_visits,
            quarantine=failed_visits >= _FRUITLESS_VISITS_BEFORE_QUARANTINE,
        )

    @classmethod
    def lost(cls, tries: int, why: str, *, lost_visits: int) -> Self:
        """The same attempts were lost every time; in `lost_visits` visits in a row a server went with them."""
        return cls(
            outcome=Outcome.LOST,
            reason=f"lost {tries} times running: {why}",
            quarantine=lost_visits >= _FRUITLESS_VISITS_BEFORE_QUARANTINE,
        )

    @property
    def told(self) -> str:
        """The whole reason, for the prompt's history."""
        return f"{self.reason}; {self.detail}" if self.detail else self.reason

    @property
    def what(self) -> str:
        """How the visit ended, in one word of the prompt's history."""
        return "quarantined" if self.quarantine else self.of_the_rest.value

    @property
    def of_the_rest(self) -> Outcome:
        """What becomes of the rollouts that did come back: what was lost has landed as lost already."""
        return Outcome.INCOMPLETE if self.outcome is Outcome.LOST else self.outcome

    def leaves(self, version: int) -> tuple[PromptState, int | None]:
        """Where the prompt stands after it, at this weight version, and the version at which it returns."""
        if self.quarantine:
            return PromptState.QUARANTINED, None
        if self.failed_visits:
            # At once again, a prompt whose reward always fails would eat the budget of all others.
            return PromptState.WAITING, version + 1
        return PromptState.READY, 0

    def held_against(self, before: Row, *, lost_visits: int) -> tuple[int, int]:
        """Fruitless visits in a row, this one included: because servers went away, because rewards failed."""
        if self.outcome is Outcome.EXPIRED:
            # Weights that moved on say nothing about the prompt: what it was suspected of, it still is.
            return before.lost_visits, before.failed_visits
        return (lost_visits if self.outcome is Outcome.LOST else 0), self.failed_visits
