"""The learner's part in broadcasts of weights: it offers, and sends when it is ordered to.

Owns: the dialogue with the scheduler, one round at a time. Never calls a server. Invariants: it listens before it asks
for an order, and leaves once a round is over, so that nobody is told to join a learner that is not there; when the
scheduler says that a round is over, or says nothing any more, the group is dropped, which frees whoever still waits in
it; nothing that goes wrong here ends the training: servers that get no weights this way load them from disk.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import structlog

from learner.buckets import stretches
from learner.process_group import RankZero
from scheduler.core.broadcast import BroadcastBackend, BroadcastOffer, BroadcastOrder, Rendezvous
from scheduler.core.errors import InvalidInput, PilotCommitError, StaleIncarnation

_log = structlog.get_logger()

BUCKET_BYTES = 1 << 28
"""Of one message: what a server needs of memory beside the weights, against a call to every server for each."""


class BroadcastLink(Protocol):
    """The calls of a broadcast. All raise StaleIncarnation when another learner has taken the run."""

    async def offer_broadcast(self, *, incarnation: str, offer: BroadcastOffer) -> None:
        """Say what can be broadcast; saying it again changes nothing."""

    async def broadcast_order(self, *, incarnation: str, rendezvous: Rendezvous) -> BroadcastOrder | None:
        """The next order; None if there was none for a while."""

    async def is_broadcast_over(self, *, incarnation: str, group: str) -> bool:
        """Whether everybody is through with a round, or it has failed; answers no after a while."""


class Broadcaster:
    """Broadcasts published weights, as the scheduler orders."""

    def __init__(
        self,
        link: BroadcastLink,
        *,
        incarnation: str,
        backend: BroadcastBackend,
        address: str,
        port: int = 0,
        bucket_bytes: int = BUCKET_BYTES,
        retry_s: float = 1.0,
        settle_s: float = 1.0,
    ) -> None:
        """`address` and `port` are where servers find this process; port 0 takes a free one for each round.

        `settle_s` is how long after the end of a round all may still turn out to have been sent.
        """
        self._link = link
        self._incarnation = incarnation
        self._backend = backend
        self._address = address
        self._port = port
        self._bucket_bytes = bucket_bytes
        self._retry_s = retry_s
        self._settle_s = settle_s
        self._offer: BroadcastOffer | None = None
        self.num_sent = 0
        """Rounds in which every bucket was sent."""

    async def offer(self, weights: Path) -> None:
        """Announce, before the first weights are, that they can be had by broadcast; raises what the link raises."""
        cut = await asyncio.to_thread(stretches, weights, self._bucket_bytes)
        offer = BroadcastOffer(backend=self._backend, buckets=tuple(stretch.bucket for stretch in cut))
        await self._link.offer_broadcast(incarnation=self._incarnation, offer=offer)
        self._offer = offer

    async def run(self) -> None:
        """Consumes: orders. Produces: broadcasts. Waits for: the scheduler. Unblocked by: an order, the end of a round.

        Returns when another learner has taken the run. Cancelled in a round, it ends with that round.
        """
        while True:
            try:
                failure = await self._round()
            except StaleIncarnation:
                return
            except (PilotCommitError, RuntimeError, OSError) as error:
                failure = str(error)
            if failure:
                _log.warning("broadcast_failed", reason=failure)
                await asyncio.sleep(self._retry_s)

    async def _round(self) -> str:
        """Wait for an order and carry it out; what went wrong, or nothing."""
        rank_zero = RankZero(self._address, self._port, self._backend)
        try:
            rendezvous = Rendezvous(address=self._address, port=rank_zero.port)
            while (order := await self._ordered(rendezvous, rank_zero)) is None:
                pass
            return await self._seen_through(order, rank_zero)
        finally:
            rank_zero.close()

    async def _ordered(self, rendezvous: Rendezvous, rank_zero: RankZero) -> BroadcastOrder | None:
        """The next order. Cancelled, it carries out one that is on its way already, and then gives way."""
        asking = asyncio.ensure_future(self._next_order(rendezvous))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.wait({asking}, timeout=self._settle_s)
            if asking.cancel() or asking.exception() is not None:
                raise
            if (order := asking.result()) is not None:
                await self._seen_through(order, rank_zero)
            raise

    async def _seen_through(self, order: BroadcastOrder, rank_zero: RankZero) -> str:
        """Carry out an order, also when cancelled meanwhile.

        A server that is told to join a learner that has left does nothing else until torch gives up, after minutes.
        """
        carrying = asyncio.ensure_future(self._carry_out(order, rank_zero))
        try:
            return await asyncio.shield(carrying)
        except asyncio.CancelledError:
            await asyncio.wait({carrying}, timeout=order.join_s + order.step_s)
            if not carrying.cancel():
                # Looked at, so that it is not reported as lost.
                carrying.exception()
            raise

    async def _next_order(self, rendezvous: Rendezvous) -> BroadcastOrder | None:
        if self._offer is not None:
            # Again each time: a scheduler that has restarted does not know it.
            await self._link.offer_broadcast(incarnation=self._incarnation, offer=self._offer)
        return await self._link.broadcast_order(incarnation=self._incarnation, rendezvous=rendezvous)

    async def _carry_out(self, order: BroadcastOrder, rank_zero: RankZero) -> str:
        # A thread of its own: the last round's may still be in a call that only its deadline ends.
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broadcast")
        leading = asyncio.get_running_loop().run_in_executor(
            thread, rank_zero.lead, order, self._buckets(Path(order.path))
        )
        over = asyncio.ensure_future(self._over(order.group))
        try:
            await asyncio.wait({leading, over}, return_when=asyncio.FIRST_COMPLETED)
            if not leading.done():
                # The others, and through them the scheduler, may know of the last bucket before this process does.
                await asyncio.wait({leading}, timeout=self._settle_s)
            if not leading.done():
                return over.result()
            if failure := leading.result():
                return failure
            self.num_sent += 1
            # Others may still be receiving: the group stays until they are through.
            await over
            return ""
        finally:
            over.cancel()
            thread.shutdown(wait=False)

    def _buckets(self, weights: Path) -> Iterator[memoryview]:
        """What is to be sent, as it is; raises PilotCommitError before the first if it is not what was offered.

        Asked for once everybody has joined: who was told to, and finds nobody, would try for half an hour.
        """
        cut = stretches(weights, self._bucket_bytes)
        if self._offer is not None and tuple(stretch.bucket for stretch in cut) != self._offer.buckets:
            # Of an earlier life with another publish_format; servers have been told to expect what was offered.
            raise InvalidInput(f"{weights} does not hold what was offered")
        for stretch in cut:
            yield stretch.mapped(weights)

    async def _over(self, group: str) -> str:
        """What there is to say of a round that ends before all was sent."""
        while not await self._link.is_broadcast_over(incarnation=self._incarnation, group=group):
            pass
        return f"the scheduler ended {group} before all was sent"
