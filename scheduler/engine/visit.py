"""One visit to one prompt: pilot, decide, commit, publish.

Owns: the order of steps of a visit and how it ends. Never chooses prompts and never composes batches. Invariant: the
visit ends once, with all its attempts accounted for; if this scheduler is stopped before, its successor finds it in
Redis with the pilots it holds.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from scheduler.core.allocators.interface import Allocator, Commit, More, Settle
from scheduler.core.errors import BudgetExhausted
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import VERDICT_OUTCOMES, Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import Group, Prompt, Rollout, Stage, Verdict
from scheduler.engine.attempts import Judged, Sender
from scheduler.engine.pipeline import Pipeline, Slot
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.engine.uninterrupted import uninterrupted
from scheduler.state.groups import GroupEntry
from scheduler.state.table import Event, Row
from scheduler.state.visits import Landing, Visit, VisitStore

log = structlog.get_logger(__name__)

_FRUITLESS_VISITS_BEFORE_QUARANTINE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """Why a visit cannot go on."""

    outcome: Outcome
    reason: str
    quarantine: bool = False
    failed_visits: int = 0
    """Visits in a row, this one included, that came to nothing because rewards failed."""


@dataclass(slots=True, kw_only=True)
class VisitRunner:
    """Runs visits of one run; one call of `run` per claimed prompt, hundreds at once."""

    sender: Sender
    visits: VisitStore
    pipeline: Pipeline
    config: RunConfig
    rule: RuleInForce
    now: Callable[[], float] = time.time

    async def run(self, visit: Visit, prompt: Prompt, row: Row, held: tuple[Rollout, ...]) -> None:
        """See a visit through to its end.

        Consumes: a claimed prompt, with the rollouts a predecessor left. Produces: a group or a verdict. Waits for: its
        attempts, then a slot. Unblocked by: servers, groups applied by the learner.
        """
        try:
            run = _Run(
                runner=self,
                visit=visit,
                prompt=prompt,
                row=row,
                allocator=self.rule.allocator,
                prior=self.rule.prior_of(prompt),
                rollouts=held,
            )
            await run.to_end()
            self.rule.saw(prompt, run.rollouts, version=self.pipeline.policy_version)
        finally:
            self.pipeline.ended(visit.visit_id)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A visit under way."""

    runner: VisitRunner
    visit: Visit
    prompt: Prompt
    row: Row
    allocator: Allocator
    """The rule as it was when the visit began: it is not to change its mind half-way."""
    prior: Prior
    rollouts: tuple[Rollout, ...]
    num_sent: int = 0
    first_failure: str = ""
    """Why the first rollout without a reward has none."""
    lost_visits: int = field(init=False)
    """Visits in a row, this one included, that ended because servers went away with the prompt's attempts."""

    def __post_init__(self) -> None:
        self.lost_visits = self.row.lost_visits

    async def to_end(self) -> None:
        while True:
            wanted = len(self.rollouts)
            match self.allocator.decide(self._evidence(), self.rollouts):
                case More(count=count):
                    wanted += count
                    trouble = await self._ask(Stage.PILOT, count)
                    if trouble is None and len(self.rollouts) < wanted:
                        # Failed rewards leave fewer pilots than the rule asked for; asking again could go on for ever.
                        trouble = self._short_of(wanted)
                    if trouble is not None:
                        return await self._interrupt(trouble)
                case Settle() as verdict:
                    self.runner.pipeline.passed(False)
                    return await self._settle(verdict)
                case Commit() as commit:
                    # Counted when it is decided: a commit takes longer than a refusal, and would be seen too late.
                    self.runner.pipeline.passed(True)
                    trouble = await self._commit(commit.count)
                    return await (self._publish(commit) if trouble is None else self._interrupt(trouble))

    async def _commit(self, missing: int) -> Interrupted | None:
        oldest = min((rollout.oldest_version for rollout in self.rollouts), default=None)
        waits = bool(missing) or not self.allocator.discards_surplus
        match await self.runner.pipeline.slot(self.visit.visit_id, oldest, waits=waits):
            case Slot.SURPLUS:
                return Interrupted(outcome=Outcome.SURPLUS, reason="no batch needed it")
            case Slot.TOO_STALE:
                return Interrupted(outcome=Outcome.EXPIRED, reason=f"no slot in time for pilots of version {oldest}")
            case Slot.NOT_NEEDED:
                return Interrupted(outcome=Outcome.CANCELLED, reason="the run takes no more steps")
            case Slot.GRANTED:
                trouble = await self._ask(Stage.COMMIT, missing) if missing else None
        if trouble is None and len(self.rollouts) < 2:
            return self._short_of(2)
        return trouble

    def _short_of(self, wanted: int) -> Interrupted:
        reason = f"{len(self.rollouts)} of {wanted} rollouts have a reward; {self.first_failure}"
        failed_visits = self.row.failed_visits + 1
        return Interrupted(
            outcome=Outcome.INCOMPLETE,
            reason=reason,
            failed_visits=failed_visits,
            quarantine=failed_visits >= _FRUITLESS_VISITS_BEFORE_QUARANTINE,
        )

    async def _ask(self, stage: Stage, count: int) -> Interrupted | None:
        """Get `count` rollouts, making lost and failed attempts again within bounds; None unless some stay lost."""
        tries, judged = self.runner.config.max_attempts, Judged()
        for attempt in range(tries):
            if not await self._reserve(count):
                return Interrupted(outcome=Outcome.INCOMPLETE, reason="no budget left to make lost attempts again")
            async with self.runner.sender.turn(attempt, suspect=judged.server_gone):
                judged = await self._make(stage, count)
            if judged.refused:
                return Interrupted(outcome=Outcome.INCOMPLETE, reason=judged.refused, quarantine=True)
            # A reward that fails now and then is worth another attempt; one that has never worked is not.
            count = len(judged.lost) + (len(judged.failed) if self.rollouts else 0)
            if not count:
                return None
        if not judged.lost:
            return None
        self.lost_visits += judged.server_gone
        return Interrupted(
            outcome=Outcome.LOST,
            reason=f"lost {tries} times running: {judged.lost[0]}",
            quarantine=self.lost_visits >= _FRUITLESS_VISITS_BEFORE_QUARANTINE,
        )

    async def _make(self, stage: Stage, count: int) -> Judged:
        runner = self.runner
        self.visit = await uninterrupted(runner.visits.launch(self.visit, stage, count))
        judged = await runner.sender.make(
            self.prompt,
            self.visit.visit_id,
            stage,
            count,
            round_number=self.row.evidence.visits,
            first=self.num_sent,
        )
        self.num_sent += count
        self.rollouts += judged.rollouts
        landing = Landing(
            stage=stage,
            rollouts=judged.rollouts,
            failed=len(judged.failed),
            failed_tokens=judged.failed_tokens,
            lost=len(judged.lost),
            prompt_tokens=judged.prompt_tokens,
        )
        self.visit = await uninterrupted(runner.visits.land(self.visit, landing, held=self.rollouts))
        for reason in dict.fromkeys(judged.failed):
            self.first_failure = self.first_failure or reason
            log.warning("attempt_failed", prompt=self.prompt.prompt_id, stage=stage, reason=reason)
        return judged

    async def _reserve(self, count: int) -> bool:
        """Have reserved all that the group still lacks: lost attempts, an earlier scheduler's too, used theirs up."""
        missing = max(count, self.allocator.largest_group - len(self.rollouts)) - self.visit.reserved
        if missing > 0:
            try:
                self.visit = await uninterrupted(self.runner.visits.extend(self.visit, missing))
            except BudgetExhausted:
                return False
        return True

    async def _settle(self, verdict: Settle) -> None:
        version = self.runner.pipeline.policy_version
        after = verdict.revisit_after
        returns = None if after is None else version + after
        await self._end(
            VERDICT_OUTCOMES[verdict.verdict],
            self._observed().judged(verdict.verdict, verdict.reason),
            state=PromptState.READY if after == 0 else PromptState.WAITING,
            next_version=returns,
            what=verdict.verdict,
            reason=verdict.reason,
        )

    async def _interrupt(self, trouble: Interrupted) -> None:
        # What was lost has landed as lost already; the rollouts that did come back belong to no complete group.
        outcome = Outcome.INCOMPLETE if trouble.outcome is Outcome.LOST else trouble.outcome
        lost_visits = self.lost_visits if trouble.outcome is Outcome.LOST else 0
        evidence = replace(self._observed(), visits=self.row.evidence.visits + 1, reason=trouble.reason)
        state, next_version = self._after(trouble)
        await self._end(
            outcome,
            evidence,
            state=state,
            next_version=next_version,
            what="quarantined" if trouble.quarantine else outcome,
            reason=trouble.reason,
            lost_visits=lost_visits,
            failed_visits=trouble.failed_visits,
        )

    def _after(self, trouble: Interrupted) -> tuple[PromptState, int | None]:
        if trouble.quarantine:
            return PromptState.QUARANTINED, None
        if trouble.failed_visits:
            # At once again, a prompt whose reward always fails would eat the budget of all others.
            return PromptState.WAITING, self.runner.pipeline.policy_version + 1
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
    ) -> None:
        row = Row(evidence=evidence, next_version=next_version, lost_visits=lost_visits, failed_visits=failed_visits)
        event = self._event(what, reason)
        await uninterrupted(self.runner.visits.settle(self.visit, outcome, row=row, state=state, event=event))
        log.info(
            "settled",
            run=self.runner.sender.run_id,
            prompt=self.prompt.prompt_id,
            what=what,
            reason=reason,
            pilots=event.pilots,
            correct=event.correct,
        )

    async def _publish(self, commit: Commit) -> None:
        runner = self.runner
        group = Group(
            group_id=self.visit.visit_id,
            prompt_id=self.prompt.prompt_id,
            prompt_ids=self.prompt.input_ids,
            rollouts=self.rollouts,
            selection_probability=commit.selection_probability,
        )
        rewards = np.array([rollout.reward for rollout in self.rollouts])
        entry = GroupEntry(
            group_id=group.group_id,
            prompt_id=group.prompt_id,
            order=time.time_ns(),
            oldest_version=group.oldest_version,
            success_rate=float(np.mean([rollout.correct for rollout in self.rollouts])),
            reward_std=float(rewards.std()),
            counts=dict(Counter(rollout.stage for rollout in self.rollouts)),
        )
        row = Row(evidence=self._observed().judged(Verdict.COMMIT, "published"))
        event = replace(self._event("published", ""), group_id=group.group_id)
        await uninterrupted(self._hand_over(group, entry, row, event))
        log.info(
            "published",
            run=runner.sender.run_id,
            prompt=group.prompt_id,
            group=group.group_id,
            success_rate=round(entry.success_rate, 3),
            oldest_version=entry.oldest_version,
        )

    async def _hand_over(self, group: Group, entry: GroupEntry, row: Row, event: Event) -> None:
        await self.runner.visits.publish(self.visit, group, entry, row=row, event=event)
        self.runner.pipeline.published_group(entry)

    def _evidence(self) -> Evidence:
        """What earlier visits showed, as it counts now."""
        return self.row.evidence.aged(self.runner.pipeline.policy_version, self.prior, self.runner.config.discount)

    def _observed(self) -> Evidence:
        """The prompt's evidence with all rollouts of this visit: rejected ones too, or the estimate is biased."""
        return self.row.evidence.observed(
            self.rollouts,
            version=self.runner.pipeline.policy_version,
            prior=self.prior,
            discount=self.runner.config.discount,
        )

    def _event(self, what: str, reason: str) -> Event:
        pilots = [rollout for rollout in self.rollouts if rollout.stage is Stage.PILOT]
        return Event(
            at=self.runner.now(),
            version=self.runner.pipeline.policy_version,
            what=what,
            reason=reason,
            pilots=len(pilots),
            correct=sum(rollout.correct for rollout in pilots),
        )
