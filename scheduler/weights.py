"""Weights on their way to the servers.

Owns: the order of control calls that gives a server new weights, and which version is live. Never touches weight bytes.
Invariants: one control operation at a time per server, with the intent in Redis first; `continue` is always sent; a
server whose version is not confirmed stays STALE; while a version is pinned by an evaluation, no newer one is pushed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from inference.control import WeightsUpdate
from inference.protocol import GenerateRequest, WeightLabel
from scheduler.core.errors import Conflict, ControlFailed, InferenceError
from scheduler.core.types import Sampling
from scheduler.fleet import Fleet, Server, ServerState
from scheduler.state.versions import VersionStore, WeightRecord, WeightState

log = structlog.get_logger(__name__)

_PROBE_IDS = (0, 1)


class WeightPusher:
    """Gives every server of the fleet the newest version of one run."""

    def __init__(
        self,
        fleet: Fleet,
        versions: VersionStore,
        *,
        run_id: str,
        on_live: Callable[[], None],
        retry_s: float = 2.0,
    ) -> None:
        self._fleet = fleet
        self._versions = versions
        self._run_id = run_id
        self.live_version = 0
        """The version that the run samples with; 0 until this incarnation has confirmed one."""
        self._on_live = on_live
        self._retry_s = retry_s
        self._newest: WeightRecord | None = None
        self._live: WeightRecord | None = None
        self._pins = 0
        self._pushing = False
        self._changed = asyncio.Condition()

    async def announce(self, record: WeightRecord) -> None:
        """There is a newer version."""
        async with self._changed:
            self._newest = record
            self._changed.notify_all()

    async def run(self) -> None:
        """Consumes: announced versions and STALE servers. Produces: READY servers. Waits for: either."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._echo_fleet_news(), name="weights-fleet-news")
            while True:
                record, servers = await self._next_push()
                try:
                    failures = await self._push(record, servers)
                finally:
                    await self._pushed()
                if failures:
                    await asyncio.sleep(self._retry_s)

    @asynccontextmanager
    async def pinned(self, version: int | None) -> AsyncIterator[int]:
        """Hold the live version for an evaluation, once it is `version` (None: any).

        Raises Conflict if a newer version is live already.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._can_pin(version))
            if version is not None and self.live_version > version:
                raise Conflict(f"weight version {version} is gone: {self.live_version} is live", field="version")
            self._pins += 1
            pinned = self.live_version
        try:
            yield pinned
        finally:
            async with self._changed:
                self._pins -= 1
                self._changed.notify_all()

    def _can_pin(self, version: int | None) -> bool:
        return self.live_version > 0 and self.live_version >= (version or 0) and not self._pushing

    async def _echo_fleet_news(self) -> None:
        while True:
            await self._fleet.news()
            async with self._changed:
                self._changed.notify_all()

    async def _pushed(self) -> None:
        async with self._changed:
            self._pushing = False
            self._changed.notify_all()

    def _wanted(self) -> WeightRecord | None:
        return self._live if self._pins and self._live is not None else self._newest

    def _behind(self) -> list[Server]:
        wanted = self._wanted()
        if wanted is None:
            return []
        return [
            server
            for server in self._fleet.servers
            if server.state is ServerState.STALE
            or (server.state is ServerState.READY and server.version != wanted.version)
        ]

    async def _next_push(self) -> tuple[WeightRecord, list[Server]]:
        async with self._changed:
            await self._changed.wait_for(self._behind)
            wanted = self._wanted()
            if wanted is None:
                raise ControlFailed("a server is behind no version at all")
            self._pushing = True
            return wanted, self._behind()

    async def _push(self, record: WeightRecord, servers: list[Server]) -> int:
        """Give the servers a version, all at once; returns how many failed."""
        started = time.monotonic()
        if record.state is WeightState.ANNOUNCED:
            record = replace(record, state=WeightState.PUSHING)
            await self._versions.update(record)
        waiting, failures = list(servers), 0
        while waiting:
            # The first that succeeds says what the checksum is; the others have to agree, and can go together.
            checksum = await self._update(waiting.pop(0), record)
            if checksum is not None:
                record = replace(record, checksum=checksum or record.checksum)
                results = await asyncio.gather(*(self._update(server, record) for server in waiting))
                failures += sum(result is None for result in results)
                await self._went_live(record, time.monotonic() - started)
                break
            failures += 1
        return failures

    async def _went_live(self, record: WeightRecord, push_s: float) -> None:
        record = replace(record, state=WeightState.LIVE, live_at=time.time(), push_s=push_s)
        await self._versions.update(record, live=True)
        if self._live is not None and self._live.version < record.version:
            await self._versions.supersede(self._live)
        log.info("weights_live", run=self._run_id, version=record.version, push_s=round(push_s, 3))
        async with self._changed:
            self._live = record
            self.live_version = record.version
            if self._newest is not None and self._newest.version == record.version:
                self._newest = record
            self._changed.notify_all()
        self._on_live()

    async def _update(self, server: Server, record: WeightRecord) -> str | None:
        """Close dispatch, pause, update, confirm, continue, open. The checksum, or None if it failed."""
        label = WeightLabel(run=self._run_id, version=record.version)
        async with server.control:
            await self._fleet.set_state(server, ServerState.UPDATING, reason=f"loading {label}")
            try:
                checksum = await self._load(server, record, label)
            except InferenceError as error:
                log.warning("weights_failed", url=server.url, version=record.version, reason=str(error))
                await self._fleet.set_state(server, ServerState.STALE, reason=str(error))
                return None
            await self._fleet.set_state(server, ServerState.READY, version=record.version)
            return checksum

    async def _load(self, server: Server, record: WeightRecord, label: WeightLabel) -> str:
        client = server.client
        try:
            try:
                await client.pause()
                if await client.update_weights(Path(record.path), label) is WeightsUpdate.APPLIED_NOT_FLUSHED:
                    await self._flush(server)
                checksum = await self._confirm(server, record, label)
            except InferenceError:
                # What is in flight may have sampled from half-loaded weights.
                await client.abort_all()
                raise
        finally:
            await client.resume()
        if not checksum:
            await self._probe(server, label)
        return checksum

    async def _flush(self, server: Server) -> None:
        if not await server.client.flush_cache(timeout_s=10.0):
            raise ControlFailed(f"{server.url} holds new weights over the old KV cache and will not flush it")

    async def _confirm(self, server: Server, record: WeightRecord, label: WeightLabel) -> str:
        """The checksum of what the server holds, empty where it cannot tell; ControlFailed if it is another's."""
        held = (await server.client.model_info()).weight_version
        if held != str(label):
            raise ControlFailed(f"{server.url} says it serves {held}, not {label}")
        checksum = await server.client.checksum() or ""
        if record.checksum and checksum and checksum != record.checksum:
            raise ControlFailed(f"{server.url} loaded {label} with checksum {checksum}, others with {record.checksum}")
        return checksum

    async def _probe(self, server: Server, label: WeightLabel) -> None:
        """One token under the new label: the only proof a server without checksums can give."""
        request = GenerateRequest(
            rid=f"probe-{label.run}-{label.version}-{time.monotonic_ns()}",
            run=label.run,
            version=label.version,
            input_ids=_PROBE_IDS,
            sampling=Sampling(max_new_tokens=1, ignore_eos=True),
            sampling_seed=0,
            timeout_s=60.0,
        )
        completion = await server.client.generate(request)
        if completion.spans[-1].version != label.version:
            raise ControlFailed(f"{server.url} answered a probe with version {completion.spans[-1].version}")
