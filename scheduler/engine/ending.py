"""How a visit ends: with a verdict, with a group, or interrupted.

Owns: what is written of a prompt when its turn is over. Never asks for rollouts and never decides. Invariant: a visit
ends once, and its evidence has all rollouts that came back, those of rejected prompts too, or it would be biased.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import structlog

from scheduler.core.allocators.interface import Commit, Settle
from scheduler.core.incomplete import Shortfall
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import VERDICT_OUTCOMES, Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.core.types import Group, Stage, Verdict
from scheduler.engine.gathering import Gathering, Interrupted
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.uninterrupted import uninterrupted
from scheduler.state.groups import GroupEntry
from scheduler.state.table import Event, Row
from scheduler.state.visits import VisitStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of one visit."""

    visits: VisitStore
    pipeline: Pipeline
    gathered: Gathering
    prior: Prior
    run_id: str
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
        # What was lost has landed as lost already; the rollouts that did come back belong to no complete group.
        is_lost = trouble.outcome is Outcome.LOST
        outcome = Outcome.INCOMPLETE if is_lost else trouble.outcome
        evidence = replace(self._observed(), visits=self.gathered.row.evidence.visits + 1, reason=trouble.reason)
        state, next_version = self._after(trouble)
        await self._end(
            outcome,
            evidence,
            state=state,
            next_version=next_version,
            what="quarantined" if trouble.quarantine else outcome,
            reason=trouble.reason,
            lost_visits=self.gathered.lost_visits if is_lost else 0,
            failed_visits=trouble.failed_visits,
            shortfall=Shortfall.DROPPED if outcome is Outcome.INCOMPLETE else None,
        )

    def _after(self, trouble: Interrupted) -> tuple[PromptState, int | None]:
        if trouble.quarantine:
            return PromptState.QUARANTINED, None
        if trouble.failed_visits:
            # At once again, a prompt whose reward always fails would eat the budget of all others.
            return PromptState.WAITING, self.pipeline.policy_version + 1
        return PromptState.READY, 0

    async def _end(
        self,
        outcome: Outcome,
        evidence: Evidence,
        *,
        state: PromptState,
        next_version: int | None,
        what: str,
        reason: str,
        lost_visits: int = 0,
        failed_visits: int = 0,
        shortfall: Shortfall | None = None,
    ) -> None:
        gathered = self.gathered
        row = Row(evidence=evidence, next_version=next_version, lost_visits=lost_visits, failed_visits=failed_visits)
        event = self._event(what, reason)
        await uninterrupted(
            self.visits.settle(gathered.visit, outcome, row=row, state=state, event=event, shortfall=shortfall)
        )
        log.info(
            "settled",
            run=self.run_id,
            prompt=gathered.prompt.prompt_id,
            what=what,
            reason=reason,
            pilots=event.pilots,
            correct=event.correct,
        )

    async def publish(self, commit: Commit) -> None:
        """With a group for the learner."""
        gathered = self.gathered
        group = Group(
            group_id=gathered.visit.visit_id,
            prompt_id=gathered.prompt.prompt_id,
            prompt_ids=gathered.prompt.input_ids,
            rollouts=gathered.rollouts,
            selection_probability=commit.selection_probability,
        )
        entry = _entry(group)
        row = Row(evidence=self._observed().judged(Verdict.COMMIT, "published"))
        event = replace(self._event("published", ""), group_id=group.group_id)
        await uninterrupted(self._hand_over(group, entry, row, event))
        log.info(
            "published",
            run=self.run_id,
            prompt=group.prompt_id,
            group=group.group_id,
            success_rate=round(entry.success_rate, 3),
            oldest_version=entry.oldest_version,
            rollouts=entry.num_rollouts,
            shortfall=self._shortfall(),
        )

    async def _hand_over(self, group: Group, entry: GroupEntry, row: Row, event: Event) -> None:
        shortfall = self._shortfall()
        await self.visits.publish(self.gathered.visit, group, entry, row=row, event=event, shortfall=shortfall)
        self.pipeline.published_group(entry)

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


def _entry(group: Group) -> GroupEntry:
    # What is masked teaches nothing, so it does not make a group's rewards differ either.
    rewards = np.array([rollout.reward for rollout in group.trained] or [0.0])
    return GroupEntry(
        group_id=group.group_id,
        prompt_id=group.prompt_id,
        order=time.time_ns(),
        oldest_version=group.oldest_version,
        success_rate=float(np.mean([rollout.correct for rollout in group.rollouts])),
        reward_std=float(rewards.std()),
        counts=dict(Counter(rollout.stage for rollout in group.rollouts)),
    )
