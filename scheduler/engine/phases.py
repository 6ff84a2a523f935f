"""The phases of a run: where it stands, what it waits for, and when it ends.

Owns: the run's state. Never claims and never samples. Invariants: a state only changes by a legal move, in Redis
first, one move at a time; what a drain ends in outlives the scheduler; a run that waits says for what.
"""

import asyncio
import time
from collections.abc import Collection

import structlog

from scheduler.core.drain import Drain, Situation, why_drain
from scheduler.core.errors import Conflict
from scheduler.core.labels import told as labels_told
from scheduler.core.lifecycle import ENDED, PromptState, RunState, ServerState, Standing
from scheduler.engine.assembly import Parts
from scheduler.fleet import Share
from scheduler.frames import FinalFrame
from scheduler.state.runs import RunRecord

log = structlog.get_logger(__name__)

_AT_WORK = (RunState.RUNNING, RunState.WAITING_WEIGHTS)


class Phases:
    """Where one run stands."""

    def __init__(self, parts: Parts, share: Share, record: RunRecord) -> None:
        self._parts = parts
        self._share = share
        self.state = record.state
        self.reason = record.reason
        self.ending = record.ending
        """The state it drains towards; None before it does."""
        self._started_at = record.started_at
        self._num_raises = record.num_raises
        self._moving = asyncio.Lock()

    @property
    def is_cancelled(self) -> bool:
        """Whether an operator wants it to end."""
        return self.ending is RunState.CANCELLED

    @property
    def is_over(self) -> bool:
        """Whether nothing new will be published: no visit is open, and none will be."""
        pipeline = self._parts.pipeline
        return not pipeline.num_visits and (self.state is RunState.DRAINING or pipeline.groups_left == 0)

    async def start(self) -> None:
        """An engine is at work on the run: it waits for weights, unless an operator or its end says otherwise."""
        await self._move((RunState.QUEUED, RunState.RUNNING), RunState.WAITING_WEIGHTS, "")

    async def claimed(self) -> None:
        """The run claimed: the wall-clock budget counts from its first claim."""
        if self._started_at is None:
            self._started_at = time.time()
            await self._parts.runs.note(self._parts.transactor, started_at=self._started_at)

    async def follow_weights(self) -> None:
        """It runs once the learner's weights are live on some server."""
        if self._parts.weights.live_version > 0 and self._parts.delivery.incarnation:
            await self._move((RunState.WAITING_WEIGHTS,), RunState.RUNNING, "")

    async def pause(self, reason: str) -> None:
        """Claim nothing new; raises Conflict if it does not claim anyway."""
        if not await self._move((*_AT_WORK, RunState.QUEUED), RunState.PAUSED, reason):
            raise Conflict(f"run {self._parts.run_id} is {self.state}: only one that is at work can be paused")

    async def resume(self, reason: str) -> None:
        """Claim again; raises Conflict if it is not paused."""
        if not await self._move((RunState.PAUSED,), RunState.WAITING_WEIGHTS, reason):
            raise Conflict(f"run {self._parts.run_id} is {self.state}, not paused")

    async def cancel(self, reason: str) -> None:
        """Stop claiming for good, on an operator's order; raises Conflict if it has ended."""
        if self.state in ENDED:
            raise Conflict(f"run {self._parts.run_id} has ended: it is {self.state}")
        await self._note_ending(RunState.CANCELLED, reason)
        await self._move(_AT_WORK, RunState.DRAINING, reason)

    async def drain_if_due(self) -> None:
        """Stop claiming once there is a reason to."""
        if self.state not in _AT_WORK:
            return
        drain = why_drain(await self._situation())
        if drain is None:
            return
        try:
            await self._drain(drain)
        except Conflict:
            # What it would have drained for may have been the budget that was just raised.
            self.take_up_budget(await self._parts.runs.get(self._parts.run_id))

    async def _drain(self, drain: Drain) -> None:
        if self.is_cancelled:
            return
        await self._note_ending(drain.end, drain.reason, num_raises=self._num_raises)
        await self._move(_AT_WORK, RunState.DRAINING, drain.reason)

    async def end(self) -> None:
        """Everything is accounted for: the run ends as its drain said."""
        ending = self.ending or RunState.FINISHED
        await self._move(frozenset(RunState) - ENDED, ending, self.reason)

    async def fail(self, reason: str) -> None:
        """It cannot even begin: it ends here, with nothing to account for."""
        if not self.is_cancelled:
            await self._note_ending(RunState.FAILED, reason)
            await self.end()

    def take_up_budget(self, record: RunRecord) -> None:
        """The budget as it is written down holds from here on: it was raised here, or by another scheduler."""
        if record.num_raises == self._num_raises:
            return
        parts, budget = self._parts, record.config.budget
        self._num_raises = record.num_raises
        parts.visits.budget, parts.evaluations.cap = budget, budget.eval_rollouts
        log.info("budget_raised", run=parts.run_id, rollouts=budget.rollouts, tokens=budget.tokens)
        parts.pipeline.wake()

    async def _note_ending(self, ending: RunState, reason: str, *, num_raises: int | None = None) -> None:
        await self._parts.runs.settle_ending(
            self._parts.transactor, ending, reason=reason, now=time.time(), num_raises=num_raises
        )
        self.ending, self.reason = ending, reason
        log.info("run_ending", run=self._parts.run_id, ending=ending, reason=reason)

    async def _move(self, sources: Collection[RunState], to: RunState, reason: str) -> bool:
        """Move from one of `sources`; False where it stands elsewhere by now: operators and the engine both move it."""
        async with self._moving:
            if self.state not in sources:
                return False
            before = self.state
            await self._parts.runs.change_state(self._parts.transactor, before, to, reason=reason, now=time.time())
            self.state, self.reason = to, reason
        log.info("run_state", run=self._parts.run_id, state=to, before=before, reason=reason)
        return True

    async def _situation(self) -> Situation:
        parts, config = self._parts, self._parts.config
        budget = parts.visits.budget
        ledger = await parts.runs.ledger(parts.run_id)
        claim = parts.admission.largest_claim
        return Situation(
            # Applied is not enough: a learner that dies before it has saved its last step takes it again.
            step=parts.delivery.checkpointed_step,
            max_steps=config.max_steps,
            elapsed_s=time.time() - self._started_at if self._started_at is not None else 0.0,
            wall_clock_s=budget.wall_clock_s,
            largest_claim_fits=budget.can_ever_fit(ledger, claim),
            claim_waits_for_budget=not budget.fits(ledger, claim),
            nothing_to_claim=parts.admission.out_of_prompts and await self._nothing_to_claim(),
            num_visits=parts.pipeline.num_visits,
        )

    async def _nothing_to_claim(self) -> bool:
        table = self._parts.table
        return not (await table.sizes()).get(PromptState.READY) and await table.next_return() is None

    # What it waits for.

    def waiting_for(self) -> str:
        """What the run waits for; empty while work flows."""
        if self.state in ENDED:
            return ""
        if self.state in (RunState.PAUSED, RunState.QUEUED):
            return self.reason
        return self._waits_for_weights() or self._waits_for_servers() or self._waits_for_work()

    def stalled_on(self) -> str:
        """What nothing has come of for long: what it waits for, or else whatever is under way."""
        under_way = self._parts.flights.told(time.monotonic())
        return self.waiting_for() or under_way or f"{self._parts.pipeline.num_visits} visits under way"

    def _waits_for_weights(self) -> str:
        if not self._parts.delivery.incarnation:
            return "a learner to attach"
        if not self._parts.pipeline.policy_version:
            return "the learner to publish its weights"
        return ""

    def _waits_for_servers(self) -> str:
        if self._share.num_healthy():
            return ""
        views = self._share.view()
        serving = [view for view in views if view.standing is Standing.SERVING]
        if any(view.state in (ServerState.UPDATING, ServerState.DRAINING) for view in serving):
            return f"weight version {self._parts.pipeline.policy_version} to be live"
        told = "; ".join(
            f"{view.url} is {view.state}: {view.reason}" if view in serving else f"{view.url} is {view.standing}"
            for view in views
        )
        wanted = labels_told(self._share.wanted)
        lack = f"the fleet has none with {wanted} that is free" if wanted else "the fleet has none"
        return f"a server: {told or lack}"

    def _waits_for_work(self) -> str:
        parts, pipeline = self._parts, self._parts.pipeline
        if self.is_over:
            return self._waits_for_the_end()
        if self.state is RunState.RUNNING and (failures := parts.circuit.waiting_for()):
            return failures
        if pipeline.num_visits == len(pipeline.held) and not pipeline.free:
            return f"the learner to apply step {parts.delivery.step + 1}"
        if parts.admission.out_of_budget and pipeline.num_visits:
            return "refunds: what is left of the budget is reserved"
        if parts.admission.is_revisiting:
            return "informative prompts: all are deferred or evicted, and some are looked at again before their time"
        return ""

    def _waits_for_the_end(self) -> str:
        delivery = self._parts.delivery
        if self._parts.pipeline.published():
            return f"the learner to apply step {delivery.step + 1}, its last one"
        if delivery.checkpointed_step < delivery.step:
            return f"the learner to save step {delivery.step}, its last one"
        return "the last evaluation"

    def last_word(self) -> FinalFrame:
        """What the learner is told at the end."""
        if self.ending is not None:
            return FinalFrame(state=self.ending, reason=self.reason)
        return FinalFrame(state=RunState.FINISHED, reason=f"all {self._parts.config.max_steps} steps are done")
