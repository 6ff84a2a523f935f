"""Weights by broadcast: a learner sends them to many servers at once, and the disk serves whoever was not among them.

Owns: what the learner offers, and the rounds: which servers take part, as which ranks, and how each gets its buckets.
Never pauses or opens a server (the pusher does, around `load`) and never touches a byte. Invariants: a round is over
once every server in it is through or the first one has failed, and the learner, told so, then drops the group, which
frees whoever still waits in it; every step has a deadline; a server that failed a version in a round gets it from disk.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from inference.control import WeightsUpdate
from inference.protocol import WeightLabel
from scheduler.core.broadcast import BroadcastOffer, BroadcastOrder, Rendezvous
from scheduler.core.errors import ControlFailed, InferenceError
from scheduler.fleet import Server
from scheduler.state.versions import WeightRecord

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastSettings:
    """How long each step of a round may take."""

    gather_s: float = 5.0
    """A server that is ready waits for others that are given the same version; who comes later has a later round."""
    order_s: float = 5.0
    """How long a round waits for the learner to ask for it, before the disk serves."""
    join_s: float = 15.0
    """For everybody to join the group."""
    step_s: float = 60.0
    """For one bucket."""
    margin_s: float = 5.0
    """The learner's deadlines come first, by this: it frees the servers, which then answer what is wrong."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Question:
    """A learner that listens and has asked what to do."""

    rendezvous: Rendezvous
    answer: asyncio.Future[BroadcastOrder]


@dataclass(slots=True, kw_only=True, eq=False)
class _Round:
    """Servers that are given one version together."""

    group: str
    members: dict[Server, int] = field(default_factory=dict)
    """How many ranks each has, in the order of their ranks."""
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody else is to be waited for."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """The learner has its order, or there is none."""
    offer: BroadcastOffer | None = None
    rendezvous: Rendezvous | None = None
    """Set together, if the round takes place."""
    through: set[Server] = field(default_factory=set)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def world_size(self) -> int:
        """The learner and every rank."""
        return 1 + sum(self.members.values())

    def first_rank(self, server: Server) -> int:
        """Of a server's ranks."""
        before = itertools.takewhile(lambda member: member is not server, self.members)
        return 1 + sum(self.members[member] for member in before)


class Broadcasts:
    """Both sides of one run's broadcasts: the learner asks, the pusher loads."""

    def __init__(self, *, run_id: str, settings: BroadcastSettings = BroadcastSettings()) -> None:
        self._run_id = run_id
        self._settings = settings
        self._offer: BroadcastOffer | None = None
        self._question: _Question | None = None
        self._asked = asyncio.Event()
        self._gathering: dict[int, _Round] = {}
        self._rounds: dict[str, _Round] = {}
        """Those that are not over, by group."""
        self._failed: dict[tuple[Server, int], str] = {}
        """Who failed which version, in which group: it is not tried a second time."""

    # The learner's side.

    def offer(self, offer: BroadcastOffer) -> None:
        """A learner can broadcast its versions from now on."""
        self._offer = offer

    async def next_order(self, rendezvous: Rendezvous, *, wait_s: float) -> BroadcastOrder | None:
        """What a learner that listens at `rendezvous` is to do; None if that is nothing for `wait_s`."""
        question = _Question(rendezvous=rendezvous, answer=asyncio.get_running_loop().create_future())
        self._question = question
        self._asked.set()
        try:
            async with asyncio.timeout(wait_s):
                return await question.answer
        except TimeoutError:
            return None
        finally:
            if self._question is question:
                self._question = None
                self._asked.clear()

    async def is_over(self, group: str, *, wait_s: float) -> bool:
        """Whether a round is over, now or within `wait_s`."""
        found = self._rounds.get(group)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                if found is not None:
                    await found.over.wait()
                return True
        return False

    # The pusher's side.

    async def load(
        self, server: Server, record: WeightRecord, label: WeightLabel, path: Path, *, among: int, flush: bool = True
    ) -> WeightsUpdate:
        """Give a paused server a version, by broadcast if that can be had, else from disk; raises InferenceError.

        `path` is where the server sees the version's folder. `among` is how many servers are being given it now: a
        round waits a while for all of them.
        """
        self._failed = {tried: group for tried, group in self._failed.items() if tried[1] >= record.version}
        if (group := self._failed.get((server, record.version))) is not None:
            await self._clean_up(server, group)
        elif self._offer is not None:
            joined = await self._joined(server, record, among)
            if joined is not None:
                return await self._receive(joined, server, record, label, flush=flush)
        return await server.client.update_weights(path, label, flush=flush)

    async def _joined(self, server: Server, record: WeightRecord, among: int) -> _Round | None:
        """The round that the server is in, once it is decided; None if it does not take place."""
        try:
            ranks = await server.client.num_ranks()
        except InferenceError as error:
            log.warning("broadcast_without", url=server.url, reason=str(error))
            return None
        first = record.version not in self._gathering
        joined = self._gathering.setdefault(record.version, _Round(group=f"{self._run_id}-{uuid.uuid4().hex}"))
        joined.members[server] = ranks
        if len(joined.members) >= among:
            joined.complete.set()
        if first:
            await self._decide(joined, record)
        else:
            await self._decided(joined, server)
        return joined if joined.offer is not None else None

    async def _decided(self, joined: _Round, server: Server) -> None:
        try:
            await joined.decided.wait()
        except asyncio.CancelledError:
            if joined.decided.is_set():
                joined.over.set()
            else:
                del joined.members[server]
            raise

    async def _decide(self, joined: _Round, record: WeightRecord) -> None:
        """Wait for the other members, then for the learner, and give it its order."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.gather_s):
                    await joined.complete.wait()
            # Whoever comes from here on begins another round.
            self._gathering.pop(record.version)
            question = await self._learner()
            if question is not None and self._offer is not None and not question.answer.done():
                self._order(joined, record, question, self._offer)
        finally:
            if self._gathering.get(record.version) is joined:
                del self._gathering[record.version]
            joined.decided.set()

    def _order(self, joined: _Round, record: WeightRecord, question: _Question, offer: BroadcastOffer) -> None:
        joined.offer, joined.rendezvous = offer, question.rendezvous
        self._rounds[joined.group] = joined
        question.answer.set_result(
            BroadcastOrder(
                group=joined.group,
                path=record.path,
                world_size=joined.world_size,
                join_s=self._settings.join_s,
                step_s=self._settings.step_s,
            )
        )
        self._question = None
        self._asked.clear()
        log.info("broadcast", run=self._run_id, version=record.version, servers=len(joined.members), group=joined.group)

    async def _learner(self) -> _Question | None:
        """A learner that asks and can be reached; it has a while to ask."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.order_s):
                await self._asked.wait()
        question = self._question
        if question is None:
            if not self._rounds:
                # It is not at work on another round either: the next version does not wait for it.
                self._offer = None
            log.warning("broadcast_without_learner", run=self._run_id, waited_s=self._settings.order_s)
            return None
        return question if await self._listens(question.rendezvous) else None

    async def _listens(self, rendezvous: Rendezvous) -> bool:
        """A server that is told to join a learner that cannot be reached is of no use until torch gives up."""
        try:
            async with asyncio.timeout(self._settings.order_s):
                _, writer = await asyncio.open_connection(rendezvous.address, rendezvous.port)
        except (OSError, TimeoutError) as error:
            place = f"{rendezvous.address}:{rendezvous.port}"
            log.warning("broadcast_out_of_reach", run=self._run_id, learner=place, reason=str(error))
            return False
        writer.close()
        return True

    # One server in one round.

    async def _receive(
        self, joined: _Round, server: Server, record: WeightRecord, label: WeightLabel, *, flush: bool
    ) -> WeightsUpdate:
        started = time.monotonic()
        try:
            update = await self._take_part(joined, server, label, flush=flush)
        except BaseException:
            # The learner drops the group, and with it everybody who waits for this one.
            joined.over.set()
            self._failed[server, record.version] = joined.group
            raise
        finally:
            joined.through.add(server)
            if joined.through >= joined.members.keys():
                joined.over.set()
                self._rounds.pop(joined.group, None)
        await _quietly(server.client.leave_weight_group(joined.group))
        log.info("broadcast_taken", url=server.url, version=record.version, s=round(time.monotonic() - started, 3))
        return update

    async def _take_part(self, joined: _Round, server: Server, label: WeightLabel, *, flush: bool) -> WeightsUpdate:
        offer, rendezvous, client = joined.offer, joined.rendezvous, server.client
        if offer is None or rendezvous is None:
            raise ControlFailed(f"{joined.group} does not take place")
        await client.join_weight_group(
            joined.group,
            rendezvous,
            first_rank=joined.first_rank(server),
            world_size=joined.world_size,
            backend=offer.backend,
            timeout_s=self._settings.join_s + self._settings.margin_s,
        )
        await self._begin(server)
        update = WeightsUpdate.APPLIED
        for number, bucket in enumerate(offer.buckets, start=1):
            # A server whose weights are half new never says that they are the new ones.
            named = label if number == len(offer.buckets) else None
            update = await client.receive_weights(
                joined.group, bucket, named, timeout_s=self._settings.step_s + self._settings.margin_s, flush=flush
            )
        await client.end_weights()
        return update

    async def _begin(self, server: Server) -> None:
        try:
            await server.client.begin_weights()
        except ControlFailed:
            # A scheduler that died in a round left its session open.
            await server.client.end_weights()
            await server.client.begin_weights()

    async def _clean_up(self, server: Server, group: str) -> None:
        """Before it loads from disk: by then the learner has freed it, and it answers."""
        await _quietly(server.client.end_weights())
        await _quietly(server.client.leave_weight_group(group))


async def _quietly(call: Awaitable[None]) -> None:
    """What fails here leaves a session that the next round closes, or a group whose sockets are closed."""
    with suppress(InferenceError):
        await call
