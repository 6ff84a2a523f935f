"""How a visit ends: with a verdict, with a group, or interrupted.

Owns: what is written of a prompt when its turn is over. Never asks for rollouts and never decides. Invariant: a visit
ends once, and its evidence has all rollouts that came back, those of rejected prompts too, or it would be biased.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from scheduler.core.allocators.interface import Commit, Settle
from scheduler.core.incomplete import Shortfall
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import VERDICT_OUTCOMES, Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.core.types import Group, Stage, Verdict
from scheduler.engine.completed_group import completed_group
from scheduler.engine.gathering import Gathering
from scheduler.engine.interruption import Interrupted
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.uninterrupted import uninterrupted
from scheduler.state.groups import GroupEntry
from scheduler.state.row import Event, Row
from scheduler.state.visit import Trace
from scheduler.state.visits import VisitStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of one visit."""

    visits: VisitStore
    pipeline: Pipeline
    gathered: Gathering
    prior: Prior
    discount: float
    now: Callable[[], float]

    async def settle(self, verdict: Settle) -> None:
        """With a verdict and without a group."""
        after = verdict.revisit_after
        await self._end(
            VERDICT_OUTCOMES[verdict.verdict],
            self._observed().judged(verdict.verdict, verdict.reason),
            state=PromptState.READY if after == 0 else PromptState.WAITING,
            next_version=None if after is None else self.pipeline.policy_version + after,
            what=verdict.verdict,
            reason=verdict.reason,
        )

    async def interrupt(self, trouble: Interrupted) -> None:
        """Without either: the prompt comes back, unless it is set aside."""
        outcome = trouble.of_the_rest
        evidence = replace(self._observed(), visits=self.gathered.row.evidence.visits + 1, reason=trouble.told)
        state, next_version = trouble.leaves(self.pipeline.policy_version)
        lost_visits, failed_visits = trouble.held_against(self.gathered.row, lost_visits=self.gathered.lost_visits)
        await self._end(
            outcome,
            evidence,
            state=state,
            next_version=next_version,
            what=trouble.what,
            reason=trouble.reason,
            detail=trouble.detail,
            lost_visits=lost_visits,
            failed_visits=failed_visits,
            shortfall=Shortfall.DROPPED if outcome is Outcome.INCOMPLETE else None,
        )

    async def _end(
        self,
        outcome: Outcome,
        evidence: Evidence,
        *,
        state: PromptState,
        next_version: int | None,
        what: str,
        reason: str,
        detail: str = "",
        lost_visits: int = 0,
        failed_visits: int = 0,
        shortfall: Shortfall | None = None,
    ) -> None:
        gathered = self.gathered
        row = Row(evidence=evidence, next_version=next_version, lost_visits=lost_visits, failed_visits=failed_visits)
        event = self._event(what, f"{reason}; {detail}" if detail else reason)
        settled = self.visits.settle(
            gathered.moved, outcome, row=row, state=state, event=event, trace=self._trace(), shortfall=shortfall
        )
        await uninterrupted(gathered.end(settled))
        log.info(
            "settled",
            **gathered.ids(),
            what=what,
            reason=reason,
            pilots=event.pilots,
            correct=event.correct,
            state=state,
            next_version=next_version,
        )

    async def publish(self, commit: Commit) -> None:
        """With a group for the learner."""
        gathered = self.gathered
        group, entry = completed_group(
            gathered.visit.visit_id,
            gathered.prompt,
            gathered.rollouts,
            selection_probability=commit.selection_probability,
        )
        row = Row(evidence=self._observed().judged(Verdict.COMMIT, "published"))
        event = replace(self._event("published", ""), group_id=group.group_id)
        await uninterrupted(self._hand_over(group, entry, row, event))
        log.info(
            "published",
            **gathered.ids(),
            group=group.group_id,
            success_rate=round(entry.success_rate, 3),
            oldest_version=entry.oldest_version,
            rollouts=entry.num_rollouts,
            shortfall=self._shortfall(),
        )

    async def _hand_over(self, group: Group, entry: GroupEntry, row: Row, event: Event) -> None:
        published = self.visits.publish(
            self.gathered.moved,
            group,
            entry,
            row=row,
            event=event,
            trace=self._trace(),
            shortfall=self._shortfall(),
        )
        await self.gathered.end(published)
        self.pipeline.published_group(entry)

    def _trace(self) -> Trace:
        gathered = self.gathered
        return Trace(
            attempts=gathered.attempts,
            rollouts=gathered.rollouts,
            last_verdict=gathered.row.evidence.last_verdict,
        )

    def _shortfall(self) -> Shortfall | None:
        gathered = self.gathered
        if len(gathered.rollouts) < gathered.num_wanted:
            return Shortfall.CUT if gathered.num_cut else Shortfall.ACCEPTED
        return Shortfall.REFILLED if gathered.num_remade else None

    def _observed(self) -> Evidence:
        """The prompt's evidence with all rollouts of this visit."""
        return self.gathered.row.evidence.observed(
            self.gathered.rollouts,
            version=self.pipeline.policy_version,
            prior=self.prior,
            discount=self.discount,
        )

    def _event(self, what: str, reason: str) -> Event:
        pilots = [rollout for rollout in self.gathered.rollouts if rollout.stage is Stage.PILOT]
        return Event(
            at=self.now(),
            version=self.pipeline.policy_version,
            what=what,
            reason=reason,
            pilots=len(pilots),
            correct=sum(rollout.correct for rollout in pilots),
        )
