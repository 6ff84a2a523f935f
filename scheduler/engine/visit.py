"""One visit to one prompt: pilot, decide, commit, publish.

Owns: the order of steps of a visit. Never chooses prompts and never composes batches. Invariant: the visit ends once,
with all its attempts accounted for; if this scheduler is stopped before, its successor finds it in Redis with the
pilots it holds.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from scheduler.core.allocators.interface import Allocator, Commit, More, Settle
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Outcome
from scheduler.core.prior import Prior
from scheduler.core.run import RunConfig
from scheduler.core.types import Prompt, Rollout, Stage
from scheduler.engine.attempts import Sender
from scheduler.engine.circuit import Circuit
from scheduler.engine.ending import Ending
from scheduler.engine.gathering import Gathering
from scheduler.engine.interruption import Interrupted
from scheduler.engine.pipeline import Pipeline, Slot
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.engine.uninterrupted import at_last
from scheduler.state.records import Attempt
from scheduler.state.row import Row
from scheduler.state.visit import Visit
from scheduler.state.visits import VisitStore

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class VisitRunner:
    """Runs visits of one run; one call of `run` per claimed prompt, hundreds at once."""

    senders: Mapping[str, Sender]
    """By pool: each judges by the reward of its own."""
    visits: VisitStore
    pipeline: Pipeline
    circuit: Circuit
    config: RunConfig
    rule: RuleInForce
    now: Callable[[], float] = time.time

    async def run(
        self, visit: Visit, prompt: Prompt, row: Row, held: tuple[Rollout, ...], attempts: tuple[Attempt, ...]
    ) -> None:
        """See a visit through to its end.

        Consumes: a claimed prompt, with the rollouts and attempts a predecessor left. Produces: a group or a verdict.
        Waits for: its attempts, then a slot. Unblocked by: servers, groups applied by the learner.
        """
        run = self._begun(visit, prompt, row, held, attempts)
        try:
            await run.to_end()
            self.rule.saw(prompt, run.gathered.rollouts, version=self.pipeline.policy_version)
        except BaseException:
            # Whoever goes on from here is to find what has landed.
            await at_last(run.gathered.write())
            raise
        finally:
            self.pipeline.ended(visit.visit_id)

    def _begun(
        self, visit: Visit, prompt: Prompt, row: Row, held: tuple[Rollout, ...], attempts: tuple[Attempt, ...]
    ) -> "_Run":
        prior = self.rule.prior_of(prompt)
        gathered = Gathering(
            sender=self.senders[self.config.mixture.pool_of(prompt.prompt_id)],
            visits=self.visits,
            circuit=self.circuit,
            config=self.config,
            visit=visit,
            prompt=prompt,
            row=row,
            largest_group=self.rule.allocator.largest_group,
            rollouts=held,
            attempts=attempts,
            num_wanted=len(held),
        )
        ending = Ending(
            visits=self.visits,
            pipeline=self.pipeline,
            gathered=gathered,
            prior=prior,
            discount=self.config.discount,
            now=self.now,
        )
        return _Run(
            pipeline=self.pipeline,
            config=self.config,
            allocator=self.rule.allocator,
            prior=prior,
            gathered=gathered,
            ending=ending,
        )


@dataclass(slots=True, kw_only=True)
class _Run:
    """A visit under way."""

    pipeline: Pipeline
    config: RunConfig
    allocator: Allocator
    """The rule as it was when the visit began: it is not to change its mind half-way."""
    prior: Prior
    gathered: Gathering
    ending: Ending

    async def to_end(self) -> None:
        gathered = self.gathered
        while True:
            match self.allocator.decide(self._evidence(), gathered.rollouts):
                case More(count=count):
                    wanted = len(gathered.rollouts) + count
                    trouble = await gathered.ask(Stage.PILOT, count)
                    if trouble is None and len(gathered.rollouts) < wanted:
                        # Failed rewards leave fewer pilots than the rule asked for; asking again could go on for ever.
                        trouble = gathered.short_of(wanted)
                    if trouble is not None:
                        return await self.ending.interrupt(trouble)
                case Settle() as verdict:
                    self.pipeline.passed(False)
                    return await self.ending.settle(verdict)
                case Commit() as commit:
                    # Counted when it is decided: a commit takes longer than a refusal, and would be seen too late.
                    self.pipeline.passed(True)
                    log.info("survived", **gathered.ids(), rollouts=len(gathered.rollouts), commits=commit.count)
                    trouble = await self._commit(commit.count)
                    return await (self.ending.publish(commit) if trouble is None else self.ending.interrupt(trouble))

    async def _commit(self, missing: int) -> Interrupted | None:
        gathered = self.gathered
        oldest = min((rollout.oldest_version for rollout in gathered.rollouts), default=None)
        waits = bool(missing) or not self.allocator.discards_surplus
        visit_id = gathered.visit.visit_id
        match await self.pipeline.slot(visit_id, oldest, waits=waits, before_waiting=gathered.write):
            case Slot.SURPLUS:
                return Interrupted(outcome=Outcome.SURPLUS, reason="no batch needed it")
            case Slot.TOO_STALE:
                return Interrupted(outcome=Outcome.EXPIRED, reason=f"no slot in time for pilots of version {oldest}")
            case Slot.NOT_NEEDED:
                return Interrupted(outcome=Outcome.CANCELLED, reason="the run takes no more steps")
            case Slot.GRANTED:
                log.info("committing", **gathered.ids(), commits=missing, oldest_version=oldest)
                trouble = await gathered.ask(Stage.COMMIT, missing) if missing else None
        least = self.config.least_group(gathered.num_wanted)
        return gathered.short_of(least) if trouble is None and len(gathered.rollouts) < least else trouble

    def _evidence(self) -> Evidence:
        """What earlier visits showed, as it counts now."""
        evidence = self.gathered.row.evidence
        return evidence.aged(self.pipeline.policy_version, self.prior, self.config.discount)
