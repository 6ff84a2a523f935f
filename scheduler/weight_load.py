"""Giving one server new weights.

Owns: the order of control calls: pause, load, confirm, continue, probe. Never decides which version, or when, and never
touches weight bytes. Invariants: `continue` is always sent; a server has a version only once its label says so and its
checksum is that of the others, or it has answered with it.
"""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

from inference.client import ServerClient
from inference.control import WeightsUpdate
from inference.protocol import GenerateRequest, WeightLabel
from scheduler.broadcast import Broadcasts
from scheduler.core.errors import ControlFailed, InferenceError, WeightsUnread
from scheduler.core.path_map import SAME_EVERYWHERE, PathMap
from scheduler.core.roll_out import PauseMode
from scheduler.core.types import Sampling
from scheduler.fleet import Server
from scheduler.state.versions import WeightRecord

_PROBE_IDS = (0, 1)


class Loader:
    """Loads versions of one run, by broadcast or from disk."""

    def __init__(
        self,
        broadcasts: Broadcasts,
        *,
        pause_mode: PauseMode = PauseMode.RETRACT,
        paths: PathMap = SAME_EVERYWHERE,
    ) -> None:
        self._broadcasts = broadcasts
        self._pause_mode = pause_mode
        self._paths = paths
        self._checksums: dict[int, str] = {}
        """Of each version, as the first server that has one says."""

    async def load(
        self, server: Server, record: WeightRecord, label: WeightLabel, *, among: int, suspect: bool, in_doubt: bool
    ) -> str:
        """Give it the version and see that it has it; its checksum, or nothing where it has none to show.

        `among` is how many servers are being given it now; a `suspect` has to generate a token; one `in_doubt` held
        weights that nobody vouches for. Raises InferenceError: the server may then hold anything, and runs.
        """
        client, mode = server.client, self._pause_mode
        if in_doubt and mode is PauseMode.IN_PLACE:
            # What it has in its cache, under any label, is in doubt too: it is flushed.
            mode = PauseMode.RETRACT
        path, flush = self._path_at(server, record), mode is not PauseMode.IN_PLACE
        try:
            try:
                await client.pause(mode)
                update = await self._broadcasts.load(server, record, label, path, among=among, flush=flush)
                if update is WeightsUpdate.APPLIED_NOT_FLUSHED:
                    # New weights over the old KV cache; once what is in flight is aborted, the next try can flush.
                    raise ControlFailed(f"{server.url} loaded {label} without flushing its cache")
                checksum = await self._confirm(server, record, label)
            except InferenceError as error:
                # What is in flight may sample from half-loaded weights: aborted here, and not believed if it answers.
                server.breaks += 1
                await client.abort_all()
                if isinstance(error, WeightsUnread):
                    raise self._unread(server, record, path, error) from error
                raise
        except BaseException:
            # Also when it is stopped: a server that does not answer must not take the stop's place.
            with suppress(InferenceError):
                await _resumed(client)
            raise
        await _resumed(client)
        if suspect or not checksum:
            await _probe(server, label)
        return checksum

    def _path_at(self, server: Server, record: WeightRecord) -> Path:
        """Where a server sees what the learner wrote: what is said of this one goes over what is said of all."""
        own = server.traits.paths
        return Path((own if own.maps(record.path) else self._paths).at_servers(record.path))

    def _unread(self, server: Server, record: WeightRecord, path: Path, error: WeightsUnread) -> WeightsUnread:
        here = self._paths.here(record.path)
        return WeightsUnread(
            f"{server.url} cannot read {path}; the learner wrote {record.path}, and this host reads it at {here}: "
            "mount that folder on the server's host, or say where it is there, in PILOTCOMMIT_PATH_MAP for all servers "
            f"or as `folders` of this one in PILOTCOMMIT_SERVERS_FILE ({error})"
        )

    async def _confirm(self, server: Server, record: WeightRecord, label: WeightLabel) -> str:
        """The checksum that the server has to show; ControlFailed if it or the label is another's."""
        held = (await server.client.model_info()).weight_version
        if held != str(label):
            raise ControlFailed(f"{server.url} says it serves {held}, not {label}")
        checksum = await server.client.checksum() or ""
        known = self._checksums.get(record.version, record.checksum)
        if known and checksum and checksum != known:
            raise ControlFailed(f"{server.url} loaded {label} with checksum {checksum}, others with {known}")
        newer = {version: told for version, told in self._checksums.items() if version > record.version}
        self._checksums = {**newer, record.version: checksum or known}
        return checksum


async def _probe(server: Server, label: WeightLabel) -> None:
    """One token under the new label: proof that it generates, and the only one a server without checksums has."""
    request = GenerateRequest(
        rid=f"probe-{label.run}-{label.version}-{time.monotonic_ns()}",
        run=label.run,
        version=label.version,
        input_ids=_PROBE_IDS,
        sampling=Sampling(max_new_tokens=1, ignore_eos=True),
        sampling_seed=0,
        timeout_s=60.0,
    )
    try:
        completion = await server.client.generate(request)
        if completion.spans[-1].version != label.version:
            raise ControlFailed(f"{server.url} answered a probe with version {completion.spans[-1].version}")
    except InferenceError:
        server.breaks += 1
        raise


async def _resumed(client: ServerClient) -> None:
    """`continue`, seen through also where the pusher is stopped while it is being sent."""
    resuming = asyncio.ensure_future(client.resume())
    try:
        await asyncio.shield(resuming)
    except asyncio.CancelledError:
        await asyncio.wait({resuming})
        if not resuming.cancelled():
            # Looked at, so that it is not reported as lost.
            resuming.exception()
        raise
