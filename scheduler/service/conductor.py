"""Which runs' engines are at work on the fleet.

Owns: the engines, the leases they work under, and the state of runs that have none. Never formats an answer.
Invariants: runs that are at work want no server in common, the others wait in QUEUED; a state is changed under one
lock, so that no engine begins with one that has just changed; a run that another scheduler holds is not touched.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress

import structlog

from scheduler.core.errors import Conflict, InvalidInput, NotAtWork
from scheduler.core.lifecycle import ENDED, RUN_MOVES, RunState
from scheduler.core.queue import Contender, Place, places, position_of
from scheduler.engine.assembly import Surroundings
from scheduler.engine.engine import Engine
from scheduler.fleet import Roster, Share
from scheduler.state.connection import why_silent
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease, holder_of, was_held
from scheduler.state.runs import RunRecord, RunStore
from scheduler.state.transaction import Transactor

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
"""Between two looks for a run that another scheduler was asked to create."""


class Conductor:
    """Gives servers to runs; `conduct` is its long loop."""

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
        self._held: set[str] = set()
        """Runs whose lease this scheduler has."""
        self._engines: dict[str, Engine] = {}
        """By run, those that are at work."""
        self._news = asyncio.Event()
        self._ended: set[str] = set()
        """Runs known to have ended, which stay so: they are not read again at each look for one to work on."""
        self._standby = ""
        """Why this scheduler only stands by; empty while it has a run, or there is none."""

    # The long loop.

    async def conduct(self) -> None:
        """Give servers of the fleet to runs, to several at once where they want no server in common.

        Consumes: runs that have not ended, oldest first. Produces: their ends. Waits for: a run to be created, here or
        by another scheduler, servers for it, or a dead scheduler's lease to run out. Unblocked by: `look_again`, time.
        Raises what ends an engine that is not the end of its run.
        """
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                await self._take_up(tasks)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_LOOK_S, self._lease_ttl_s / 4) if self._standby else _LOOK_S):
                        await self._news.wait()

    def look_again(self) -> None:
        """There may be a run to work on."""
        self._news.set()

    async def quiesce(self, *, grace_s: float) -> None:
        """Before a stop: claim nothing more and give what is in flight a while to come back."""
        await asyncio.gather(*(engine.quiesce(grace_s=grace_s) for engine in self._engines.values()))

    async def _take_up(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to work on every run whose turn it is; the first of them decides which scheduler is at work.

        Two schedulers ask for the leases in the same order, so the one that has not got the first stands by.
        """
        due = [run_id for run_id, place in (await self.queue()).items() if not place.position]
        if self._held or not due:
            self._standby = ""
        for run_id in [run_id for run_id in due if run_id not in self._held]:
            lease = await self._hold(run_id)
            if lease is not None:
                if not self._held:
                    # Another scheduler may have been given orders while this one stood by.
                    await self._roster.load()
                self._held.add(run_id)
                tasks.create_task(self._see_through(lease), name=f"run-{run_id}")
            elif not self._held:
                return

    async def _hold(self, run_id: str) -> Lease | None:
        """The run's lease; None while another scheduler's has not run out."""
        redis = self._around.redis
        try:
            lease = await Lease.acquire(redis, RunKeys(run_id), holder=self._incarnation, ttl_s=self._lease_ttl_s)
        except Conflict as conflict:
            if not self._standby:
                log.info("standing_by", run=run_id, reason=str(conflict))
            self._standby = "" if self._held else str(conflict)
            return None
        self._standby = ""
        log.info("lease_acquired", run=run_id, fence=lease.fence, holder=self._incarnation)
        return lease

    async def _see_through(self, lease: Lease) -> None:
        """Work on a run under its lease, on the servers that it may have, until it has ended."""
        run_id, fleet = lease.run_id, self._around.fleet
        wanted = (await self._runs.get(run_id)).config.servers
        share = fleet.share_for(run_id, wanted)
        try:
            await self._work_on(run_id, lease, share)
        finally:
            self._engines.pop(run_id, None)
            self._held.discard(run_id)
            fleet.release(share)
            await asyncio.shield(lease.release())
            log.info("lease_released", run=run_id, fence=lease.fence)
            self.look_again()

    async def _work_on(self, run_id: str, lease: Lease, share: Share) -> None:
        async with self.ordering:
            record = await self._runs.get(run_id)
            if record.state in ENDED:
                return
            try:
                engine = await Engine.create(self._around, share=share, lease=lease, record=record)
            except InvalidInput as error:
                # Nothing that is asked of it later could be done; the runs behind it can.
                await self.move(record, RunState.FAILED, str(error))
                return
            self._engines[run_id] = engine
        await engine.run()
        # Nobody is left to make a push again whose `continue` failed.
        await share.continue_all()

    # Whose turn it is.

    async def queue(self) -> Mapping[str, Place]:
        """Where every run that has not ended stands; one that was paused before it began stays behind."""
        ids = [run_id for run_id in await self._runs.ids() if run_id not in self._ended or run_id in self._held]
        records = [await self._runs.get(run_id) for run_id in ids]
        self._ended.update(record.run_id for record in records if record.state in ENDED)
        contenders = []
        for record in sorted(records, key=lambda record: record.created_at):
            has_begun = await self._has_begun(record)
            if has_begun or record.state not in ENDED | {RunState.PAUSED}:
                contenders.append(Contender(run_id=record.run_id, wanted=record.config.servers, has_begun=has_begun))
        return places(contenders, await self._roster.labels()) if contenders else {}

    async def _has_begun(self, record: RunRecord) -> bool:
        """Whether some scheduler has taken it up, so that servers are its own; a standby has to know that too."""
        if record.run_id in self._held:
            return True
        return record.state not in ENDED and await was_held(self._around.redis, RunKeys(record.run_id))

    # Who is at work.

    def working(self, run_id: str) -> Engine | None:
        """The engine at work on a run here, if there is one."""
        return self._engines.get(run_id)

    async def at_work(self, run_id: str) -> Engine:
        """The engine at work on a run; Conflict if the run has ended, NotAtWork if its engine may yet begin."""
        engine = self.working(run_id)
        if engine is not None and engine.has_taken_up:
            return engine
        record = await self._runs.get(run_id)
        if record.state in ENDED:
            raise Conflict(f"run {run_id} has ended: it is {record.state}")
        if record.state is RunState.PAUSED and not await self._has_begun(record):
            raise NotAtWork(
                f"run {run_id} is not at work: it was paused before it began; "
                f"`pilotcommit run resume {run_id}` queues it"
            )
        waits_for = position_of(await self.queue(), run_id).why
        why = f"it waits for {waits_for}" if waits_for else "it is being taken up"
        raise NotAtWork(f"run {run_id} is not at work: {why}; try again later")

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
