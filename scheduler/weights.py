"""Weights on their way to the servers.

Owns: which version goes to which server when, and which is live. Never calls a server (`scheduler.weight_load` does).
Invariants: one control operation at a time per server, with the intent in Redis first; `continue` is always sent; a
server whose version is not confirmed stays STALE; while a version is pinned by an evaluation, no newer one is pushed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from inference.protocol import WeightLabel
from scheduler.core.errors import Conflict, InferenceError
from scheduler.core.lifecycle import ServerState
from scheduler.core.roll_out import AT_ONCE, RollOut
from scheduler.fleet import Server, Share
from scheduler.state.versions import VersionStore, WeightRecord, WeightState
from scheduler.weight_load import Loader

log = structlog.get_logger(__name__)


class WeightPusher:
    """Gives every server of its share the newest version of one run, as many at a time as the roll-out allows."""

    def __init__(
        self,
        share: Share,
        versions: VersionStore,
        *,
        run_id: str,
        on_live: Callable[[], None],
        loader: Loader,
        retry_s: float = 2.0,
        drain_s: float = 0.0,
        roll_out: RollOut = AT_ONCE,
    ) -> None:
        """`drain_s`: what a server has in flight at a push gets this long to end before the loader pauses it."""
        self._share = share
        self._versions = versions
        self._run_id = run_id
        self.live_version = 0
        """No server samples with an older one; 0 until this incarnation has confirmed one."""
        self._on_live = on_live
        self._retry_s = retry_s
        self._drain_s = drain_s
        self._roll_out = roll_out
        self._loader = loader
        self._records: dict[int, WeightRecord] = {}
        """Versions that are not superseded."""
        self._first = 0
        """A version to be live before any newer one: an evaluation under way is of it."""
        self._pins = 0
        self._pins_asked: list[int | None] = []
        self._pushes_owed = False
        """A version waited for the last pin to be lifted: it goes before the next pin."""
        self._pushing: dict[Server, int] = {}
        self._closed: set[Server] = set()
        """Those of them that took attempts before."""
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()

    async def recover(self, records: Iterable[WeightRecord], *, first: int | None) -> None:
        """Take up the versions of an earlier incarnation; `first` is to be live before newer ones, if it is there."""
        self._records = {record.version: record for record in records if record.state is not WeightState.SUPERSEDED}
        self._first = first if first in self._records else 0
        await self._tell()

    async def announce(self, record: WeightRecord) -> None:
        """There is a newer version."""
        self._records[record.version] = record
        await self._tell()

    async def run(self) -> None:
        """Consumes: announced versions and STALE servers. Produces: HEALTHY servers. Waits for: either."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_fleet(), name="weights-fleet-news")
            tasks.create_task(self._share.attend(self._keep_current, name="weights"), name="weights-fleet")

    @asynccontextmanager
    async def pinned(self, version: int | None) -> AsyncIterator[int]:
        """Hold the live version for an evaluation, once it is `version` (None: any).

        Raises Conflict if a newer version is live already.
        """
        async with self._changed:
            self._pins_asked.append(version)
            try:
                await self._changed.wait_for(lambda: self._can_pin(version))
            finally:
                self._pins_asked.remove(version)
                self._changed.notify_all()
            if version is not None and self.live_version > version:
                raise Conflict(f"weight version {version} is gone: {self.live_version} is live", field="version")
            self._pins += 1
        try:
            yield self.live_version
        finally:
            self._pins -= 1
            self._pushes_owed = self._newest > self.live_version
            await self._tell()

    # Which version goes where, and when.

    @property
    def _newest(self) -> int:
        return max(self._records, default=0)

    def _wanted(self) -> int:
        if self._pins:
            return self.live_version
        return self._first if self.live_version < self._first else self._newest

    def _is_behind(self, server: Server) -> bool:
        if not server.takes_weights:
            return False
        wanted = self._wanted()
        if server.state is ServerState.STALE:
            return wanted > 0
        # One that is suspect answers soon, or is dead.
        is_open = server.state in (ServerState.HEALTHY, ServerState.DRAINING)
        return is_open and wanted > 0 and server.version != wanted

    def _can_pin(self, version: int | None) -> bool:
        moving = self._pushes_owed or any(pushed > self.live_version for pushed in self._pushing.values())
        # In the middle of a roll-out some servers sample with a newer version than the one that would be measured.
        mixed = any(server.takes_attempts and server.version > self.live_version for server in self._share.servers)
        return self.live_version >= max(1, version or 0) and not moving and not mixed

    def _is_due(self, server: Server) -> bool:
        newer = self._wanted() > self.live_version
        held_back = newer and any(self._can_pin(version) for version in self._pins_asked)
        return self._is_behind(server) and not held_back and (not server.is_confirmed or self._may_close())

    def _may_close(self) -> bool:
        serving = sum(server.takes_weights for server in self._share.servers)
        return self._roll_out.may_close(num_closed=len(self._closed), num_servers=serving)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _follow_fleet(self) -> None:
        """Consumes: news of the fleet. Produces: the live version, looks at who is behind. Waits for: news."""
        while True:
            await self._share.news()
            await self._note_live()
            await self._tell()

    async def _keep_current(self, server: Server) -> None:
        """Consumes: versions that the server lacks. Produces: a HEALTHY server. Waits for: its turn; retries."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._is_due(server))
                version = self._pushing[server] = self._wanted()
                if server.is_confirmed:
                    self._closed.add(server)
            try:
                is_current = await self._update(server, self._records[version])
            finally:
                del self._pushing[server]
                self._closed.discard(server)
                await self._tell()
            if not is_current:
                await asyncio.sleep(self._retry_s)

    async def _note_live(self) -> None:
        """Once no server samples with an older one, a version is live and those before it are superseded."""
        async with self._writing:
            # One that an operator drained gets nothing new: what it still has in flight holds nobody back.
            counted = (server for server in self._share.servers if server.is_confirmed and server.takes_weights)
            version = min((server.version for server in counted), default=0)
            if version <= self.live_version:
                return
            record = replace(self._records[version], state=WeightState.LIVE, live_at=time.time())
            await self._put(record, live=True)
            self.live_version, self._pushes_owed = version, False
            log.info("weights_live", run=self._run_id, version=version, push_s=record.push_s)
            for older in [older for older in self._records if older < version]:
                await self._versions.supersede(self._records.pop(older))
                log.info("weights_superseded", run=self._run_id, version=older, by=version)
        self._on_live()
        await self._tell()

    async def _put(self, record: WeightRecord, *, live: bool = False) -> None:
        await self._versions.update(record, live=live)
        self._records[record.version] = record

    async def _intend(self, record: WeightRecord) -> None:
        async with self._writing:
            if self._records.get(record.version) is record and record.state is WeightState.ANNOUNCED:
                await self._put(replace(record, state=WeightState.PUSHING))
                log.info("weights_pushing", run=self._run_id, version=record.version)

    # One server.

    async def _update(self, server: Server, record: WeightRecord) -> bool:
        """Drain, close dispatch, pause, update, confirm, continue, open; whether that went well."""
        label = WeightLabel(run=self._run_id, version=record.version)
        await self._intend(record)
        async with self._drained(server), server.control:
            if not self._is_behind(server) or self._wanted() != record.version:
                return True
            suspect, in_doubt, started = server.losses > 0, not server.is_confirmed, time.monotonic()
            await self._share.set_state(server, ServerState.UPDATING, reason=f"loading {label}")
            try:
                among = sum(version == record.version for version in self._pushing.values())
                checksum = await self._loader.load(
                    server, record, label, among=among, suspect=suspect, in_doubt=in_doubt
                )
                self._learn(record, checksum=checksum, push_s=round(time.monotonic() - started, 3))
                # Others may have gone on meanwhile: nothing is sampled with less than what is live.
                if record.version >= self.live_version:
                    await self._share.set_state(server, ServerState.HEALTHY, version=record.version)
            except InferenceError as error:
                log.warning(
                    "weights_failed", run=self._run_id, url=server.url, version=record.version, reason=str(error)
                )
                await self._share.set_state(server, ServerState.STALE, reason=str(error))
                return False
            finally:
                if server.state is ServerState.UPDATING:
                    reason = f"overtaken or stopped while loading {label}"
                    self._share.note_state(server, ServerState.STALE, reason=reason)
        await self._note_live()
        return True

    @asynccontextmanager
    async def _drained(self, server: Server) -> AsyncIterator[None]:
        """Send nothing new and let what is in flight end, within bounds; whoever does not update it opens it again.

        Its control lock stays free meanwhile: whoever loses an attempt can look whether the server is gone.
        """
        try:
            if self._drain_s and server.state is ServerState.HEALTHY:
                reason = "new weights wait for what is in flight"
                await self._share.set_state(server, ServerState.DRAINING, reason=reason)
                await server.idle(self._drain_s)
            yield
        finally:
            if server.state is ServerState.DRAINING:
                self._share.note_state(server, ServerState.HEALTHY)
                self._share.dispatch()

    def _learn(self, record: WeightRecord, *, checksum: str, push_s: float) -> None:
        """Keep what a server said of a version; it is written when the version goes live."""
        record = self._records.get(record.version, record)
        if record.version in self._records:
            self._records[record.version] = replace(record, checksum=checksum or record.checksum, push_s=push_s)
