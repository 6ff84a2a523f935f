"""Which run's engine is at work on the fleet.

Owns: the engine, the lease it works under, and the state of runs that have none. Never formats an answer. Invariants:
one run owns the fleet at a time, the others wait in QUEUED; a state is changed under one lock, so that no engine begins
with one that has just changed; a run that another scheduler holds is not touched.
"""

import asyncio
import time
import uuid
from contextlib import suppress

import structlog

from scheduler.core.errors import Conflict, InvalidInput, NotAtWork
from scheduler.core.lifecycle import ENDED, RUN_MOVES, RunState
from scheduler.engine.assembly import Surroundings
from scheduler.engine.engine import Engine
from scheduler.fleet import Roster
from scheduler.state.connection import why_silent
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease, holder_of
from scheduler.state.runs import RunRecord, RunStore
from scheduler.state.transaction import Transactor

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
"""Between two looks for a run that another scheduler was asked to create."""


class Conductor:
    """Gives the fleet to one run after the other; `conduct` is its long loop."""

    def __init__(
        self, around: Surroundings, roster: Roster, *, incarnation: str | None = None, lease_ttl_s: float = 15.0
    ) -> None:
        self.ordering = asyncio.Lock()
        """Held to change a run's state, so that no engine begins with a state that has just changed."""
        self._around = around
        self._roster = roster
        self._runs = RunStore(around.redis)
        self._incarnation = incarnation or uuid.uuid4().hex
        self._lease_ttl_s = lease_ttl_s
        self._engine: Engine | None = None
        self._news = asyncio.Event()
        self._ended: set[str] = set()
        """Runs known to have ended, which stay so: they are not read again at each look for one to work on."""
        self._standby = ""
        """Why this scheduler only stands by; empty while it has a run, or there is none."""

    # The long loop.

    async def conduct(self) -> None:
        """Give the fleet to one run after the other.

        Consumes: runs that have not ended, oldest first. Produces: their ends. Waits for: a run to be created, here or
        by another scheduler, or a dead scheduler's lease to run out. Unblocked by: `look_again`, time.
        """
        while True:
            self._news.clear()
            record = await self._next_run()
            if record is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._news.wait()
                continue
            lease = await self._hold(record.run_id)
            try:
                await self._roster.load()
                await self._work_on(record.run_id, lease)
            finally:
                self._engine = None
                self._around.fleet.disown()
                await asyncio.shield(lease.release())
                log.info("lease_released", run=record.run_id, fence=lease.fence)

    def look_again(self) -> None:
        """There may be a run to work on."""
        self._news.set()

    async def quiesce(self, *, grace_s: float) -> None:
        """Before a stop: claim nothing more and give what is in flight a while to come back."""
        if self._engine is not None:
            await self._engine.quiesce(grace_s=grace_s)

    async def _work_on(self, run_id: str, lease: Lease) -> None:
        async with self.ordering:
            record = await self._runs.get(run_id)
            if record.state in ENDED:
                return
            try:
                self._engine = engine = await Engine.create(self._around, lease=lease, record=record)
            except InvalidInput as error:
                # Nothing that is asked of it later could be done; the runs behind it can.
                await self.move(record, RunState.FAILED, str(error))
                return
        await engine.run()
        # Nobody is left to make a push again whose `continue` failed.
        await self._around.fleet.continue_all()

    async def _next_run(self) -> RunRecord | None:
        """The oldest run that has not ended, preferring one that has begun; one paused before it began stays behind."""
        records = [await self._runs.get(run_id) for run_id in await self._runs.ids() if run_id not in self._ended]
        self._ended.update(record.run_id for record in records if record.state in ENDED)
        alive = [
            record
            for record in records
            if record.state not in ENDED and (record.state is not RunState.PAUSED or record.incarnation)
        ]
        alive.sort(key=lambda record: (record.state is RunState.QUEUED, record.created_at))
        return alive[0] if alive else None

    async def _hold(self, run_id: str) -> Lease:
        """The run's lease, waited for while another scheduler's has not run out."""
        redis = self._around.redis
        while True:
            try:
                lease = await Lease.acquire(redis, RunKeys(run_id), holder=self._incarnation, ttl_s=self._lease_ttl_s)
            except Conflict as conflict:
                if not self._standby:
                    log.info("standing_by", run=run_id, reason=str(conflict))
                self._standby = str(conflict)
                await asyncio.sleep(min(_LOOK_S, self._lease_ttl_s / 4))
                continue
            self._standby = ""
            log.info("lease_acquired", run=run_id, fence=lease.fence, holder=self._incarnation)
            return lease

    # Who is at work.

    def working(self, run_id: str) -> Engine | None:
        """The engine at work on a run here, if there is one."""
        return self._engine if self._engine is not None and self._engine.run_id == run_id else None

    async def at_work(self, run_id: str) -> Engine:
        """The engine at work on a run; Conflict if the run has ended, NotAtWork if its engine may yet begin."""
        engine = self.working(run_id)
        if engine is not None and engine.has_taken_up:
            return engine
        record = await self._runs.get(run_id)
        if record.state in ENDED:
            raise Conflict(f"run {run_id} has ended: it is {record.state}")
        other = self._engine is not None and engine is None
        owner = f"run {self._engine.run_id} owns the fleet" if self._engine and other else "it is being taken up"
        raise NotAtWork(f"run {run_id} is not at work: {owner}; try again later")

    async def is_elsewhere(self, run_id: str) -> bool:
        """Whether another scheduler holds a run."""
        return await holder_of(self._around.redis, RunKeys(run_id)) not in ("", self._incarnation)

    async def is_ready(self) -> str:
        """Empty if the scheduler can work, else what is missing, or whom it stands by for."""
        return await why_silent(self._around.redis) or (f"standby: {self._standby}" if self._standby else "")

    # Runs without an engine.

    async def move(self, record: RunRecord, to: RunState, reason: str) -> None:
        """Change the state of a run whose engine is not at work.

        Raises Conflict if it cannot go there from its own state, NotAtWork if another scheduler holds it.
        """
        if record.state in ENDED:
            raise Conflict(f"run {record.run_id} has ended: it is {record.state}")
        await self._refuse_if_elsewhere(record.run_id)
        if (record.state, to) not in RUN_MOVES:
            raise Conflict(f"run {record.run_id} is {record.state}: it cannot become {to}")
        transactor = Transactor(self._around.redis, RunKeys(record.run_id), None)
        await self._runs.change_state(transactor, record.state, to, reason=reason, now=time.time())
        log.info("run_state", run=record.run_id, state=to, before=record.state, reason=reason)

    async def _refuse_if_elsewhere(self, run_id: str) -> None:
        """An engine in another scheduler knows where its run stands: a state changed under it would end it."""
        if await self.is_elsewhere(run_id):
            raise NotAtWork(
                f"run {run_id} is held by another scheduler: ask that one, which /readyz tells from a standby, or wait "
                f"{self._lease_ttl_s:g} s if it has died"
            )
