"""The phases of a run: where it stands, what it waits for, and when it ends.

Owns: the run's state. Never claims and never samples. Invariants: a state only changes by a legal move, in Redis
first; a run that waits says for what.
"""

import time

import structlog

from scheduler.core.drain import Drain, Situation, why_drain
from scheduler.core.errors import Conflict
from scheduler.core.lifecycle import ENDED, PromptState, RunState
from scheduler.engine.assembly import Parts
from scheduler.fleet import Fleet, ServerState
from scheduler.state.runs import RunRecord

log = structlog.get_logger(__name__)


class Phases:
    """Where one run stands."""

    def __init__(self, parts: Parts, fleet: Fleet, record: RunRecord) -> None:
        self._parts = parts
        self._fleet = fleet
        self.state = record.state
        self.reason = record.reason
        self._started_at = record.started_at
        self._end = RunState.FINISHED

    async def change(self, to: RunState, reason: str) -> None:
        """Move the run; raises Conflict if it has ended, IllegalMove if the table does not have the move."""
        if self.state in ENDED:
            raise Conflict(f"run {self._parts.run_id} has ended: it is {self.state}")
        now = time.time() if to in ENDED else None
        await self._parts.runs.change_state(self._parts.transactor, self.state, to, reason=reason, now=now)
        log.info("run_state", run=self._parts.run_id, state=to, reason=reason)
        self.state, self.reason = to, reason

    async def start(self) -> None:
        """An engine is at work on the run: it waits for weights, unless an operator or its end says otherwise."""
        if self.state in (RunState.QUEUED, RunState.RUNNING):
            await self.change(RunState.WAITING_WEIGHTS, "")

    async def claimed(self) -> None:
        """The run claimed: the wall-clock budget counts from its first claim."""
        if self._started_at is None:
            self._started_at = time.time()
            await self._parts.runs.note(self._parts.transactor, started_at=self._started_at)

    async def follow_weights(self) -> None:
        """RUNNING exactly while the learner's weights are live on some server."""
        live = self._parts.weights.live_version > 0 and self._parts.delivery.incarnation != ""
        if self.state is RunState.WAITING_WEIGHTS and live:
            await self.change(RunState.RUNNING, "")

    async def drain_if_due(self) -> None:
        """Stop claiming once there is a reason to."""
        if self.state not in (RunState.RUNNING, RunState.WAITING_WEIGHTS):
            return
        drain = why_drain(await self._situation())
        if drain is not None:
            await self.drain(drain)

    async def drain(self, drain: Drain) -> None:
        """Stop claiming."""
        self._end = drain.end
        await self.change(RunState.DRAINING, drain.reason)

    async def _situation(self) -> Situation:
        parts, config = self._parts, self._parts.config
        ledger = await parts.runs.ledger(parts.run_id)
        sizes = await parts.table.sizes() if parts.admission.out_of_prompts else {}
        returns = await parts.table.next_return()
        empty = parts.admission.out_of_prompts and not sizes.get(PromptState.READY) and returns is None
        return Situation(
            step=parts.delivery.step,
            max_steps=config.max_steps,
            elapsed_s=time.time() - self._started_at if self._started_at is not None else 0.0,
            wall_clock_s=config.budget.wall_clock_s,
            largest_claim_fits=config.budget.can_ever_fit(ledger, parts.admission.largest_claim),
            claim_waits_for_budget=parts.admission.out_of_budget,
            nothing_to_claim=empty,
            num_visits=parts.pipeline.num_visits,
        )

    async def end(self) -> None:
        """Everything is accounted for: the run ends as its drain said. A restart re-reads that from the steps done."""
        done = self._parts.config.max_steps is not None and self._parts.delivery.step >= self._parts.config.max_steps
        await self.change(RunState.FINISHED if done else self._end, self.reason)

    def waiting_for(self) -> str:
        """What the run waits for; empty while work flows."""
        if self.state in ENDED:
            return ""
        if self.state in (RunState.PAUSED, RunState.QUEUED):
            return self.reason
        return self._waits_for_weights() or self._waits_for_servers() or self._waits_for_work()

    def _waits_for_weights(self) -> str:
        if not self._parts.delivery.incarnation:
            return "a learner to attach"
        if not self._parts.pipeline.policy_version:
            return "the learner to publish its weights"
        return ""

    def _waits_for_servers(self) -> str:
        if self._fleet.num_ready():
            return ""
        views = self._fleet.view()
        if any(view.state is ServerState.UPDATING for view in views):
            return f"weight version {self._parts.pipeline.policy_version} to be live"
        told = "; ".join(f"{view.url} is {view.state}: {view.reason}" for view in views)
        return f"a server: {told or 'the fleet has none'}"

    def _waits_for_work(self) -> str:
        parts = self._parts
        if self.state is RunState.DRAINING:
            return f"the end: {self.reason}"
        if parts.admission.out_of_budget and parts.pipeline.num_visits:
            return "refunds: what is left of the budget is reserved"
        if not parts.pipeline.num_visits and not parts.pipeline.free:
            return f"the learner to apply step {parts.delivery.step + 1}"
        return ""
