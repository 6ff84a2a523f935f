"""Ending the open visits of a cancelled run.

Owns: how their attempts are accounted for. Never cancels the coroutines that ran them: they have ended before.
Invariant: every attempt in flight becomes cancelled, and every prompt is claimable again.
"""

import time

import structlog

from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.engine.assembly import Parts
from scheduler.state.records import closed
from scheduler.state.row import Event
from scheduler.state.visit import Landing, Trace

log = structlog.get_logger(__name__)


async def cancel_visits(parts: Parts, reason: str) -> None:
    """End every open visit of the run."""
    for visit, held in await parts.visits.open_visits():
        attempts = closed(await parts.visits.attempts(visit.visit_id), Outcome.CANCELLED, reason)
        for stage, count in visit.in_flight.items():
            if count:
                landing = Landing(stage=stage, cancelled=count)
                visit = await parts.visits.land(visit, landing, held=(), attempts=attempts)
        rows = await parts.table.rows([visit.prompt_id])
        event = Event(at=time.time(), version=parts.pipeline.policy_version, what="cancelled", reason=reason)
        await parts.visits.settle(
            visit,
            Outcome.CANCELLED,
            row=rows.get(visit.prompt_id) or parts.admission.fresh_row(),
            state=PromptState.READY,
            event=event,
            trace=Trace(attempts=attempts, unjudged=held),
        )
        log.info(
            "settled",
            run=parts.run_id,
            prompt=visit.prompt_id,
            visit=visit.visit_id,
            what=event.what,
            reason=reason,
            state=PromptState.READY,
        )
