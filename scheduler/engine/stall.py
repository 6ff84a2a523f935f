"""The watchdog of a run: how long nothing has progressed.

Owns: the moment of the last progress, and what was said of a stall. Never stops anything. Invariant: a stall is logged
each time the patience runs out, and written into the run's course only when it waits for something new.
"""

import time

import structlog

from scheduler.core.course import CourseEvent, Turn
from scheduler.core.lifecycle import RunState
from scheduler.engine.assembly import Parts
from scheduler.engine.phases import Phases

log = structlog.get_logger(__name__)


class Watchdog:
    """Watches one run."""

    def __init__(self, parts: Parts, phases: Phases, *, patience_s: float) -> None:
        self._parts = parts
        self._phases = phases
        self._patience_s = patience_s
        self._progressed_at = self._looked_at = time.monotonic()
        self._told = ""

    @property
    def idle_s(self) -> float:
        """Seconds since anything progressed."""
        return time.monotonic() - self._progressed_at

    def progressed(self) -> None:
        """A visit has ended, or new weights have come."""
        self._progressed_at = self._looked_at = time.monotonic()
        self._told = ""

    async def look(self) -> None:
        """Say what the run waits for, if it has stood still for too long."""
        now = time.monotonic()
        if now - self._looked_at < self._patience_s or self._phases.state is RunState.PAUSED:
            return
        self._looked_at = now
        parts, pipeline = self._parts, self._parts.pipeline
        waiting_for = self._phases.stalled_on()
        log.warning(
            "stalled",
            run=parts.run_id,
            idle_s=round(self.idle_s, 3),
            waiting_for=waiting_for,
            visits=pipeline.num_visits,
            held=len(pipeline.held),
            committing=len(pipeline.committing),
            published=len(pipeline.published()),
        )
        if waiting_for != self._told:
            self._told = waiting_for
            event = CourseEvent(at=time.time(), what=Turn.STALL, reason=waiting_for)
            await parts.runs.remember(parts.transactor, event)
