"""What a learner says and is told: it attaches, takes groups, and reports weights, steps and checkpoints.

Owns: which engine hears it, and the check of what it names. Never composes a batch. Invariant: weights that could not
be loaded are refused before anything is changed.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing

from scheduler.checkpoints import Checkpoints
from scheduler.core.broadcast import BroadcastOffer, BroadcastOrder, Rendezvous
from scheduler.core.errors import Conflict
from scheduler.core.lifecycle import ENDED
from scheduler.core.path_map import PathMap
from scheduler.core.run import RunMode
from scheduler.engine.assembly import Parts
from scheduler.frames import Attached, FinalFrame, Sent
from scheduler.service.conductor import Conductor
from scheduler.state.runs import RunStore
from scheduler.state.versions import WeightRecord


class LearnerDesk:
    """One method a call; all raise Conflict for a run that has ended, NotAtWork for one that has not begun."""

    def __init__(
        self, conductor: Conductor, runs: RunStore, checkpoints: Checkpoints, paths: PathMap, *, heartbeat_s: float
    ) -> None:
        self._conductor = conductor
        self._runs = runs
        self._checkpoints = checkpoints
        self._paths = paths
        self._heartbeat_s = heartbeat_s

    async def attach(
        self, run_id: str, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]
    ) -> Attached:
        """A learner incarnation takes the run's groups from here on; raises Conflict for a profile."""
        if (await self._runs.get(run_id)).config.mode is RunMode.PROFILE:
            raise Conflict(f"run {run_id} is a profile: it commits no groups, and takes no learner")
        delivery = (await self._conductor.at_work(run_id)).parts.delivery
        return await delivery.attach(incarnation=incarnation, step=step, trained=trained)

    async def publish(self, run_id: str, *, incarnation: str, step: int, path: str, digest: str) -> WeightRecord:
        """Initial or restored weights become the next version; raises StaleIncarnation, InvalidInput for the path."""
        await self._checkpoints.check(self._paths.here(path))
        delivery = (await self._conductor.at_work(run_id)).parts.delivery
        return await delivery.publish(incarnation=incarnation, step=step, path=path, digest=digest)

    async def stream(self, run_id: str, *, incarnation: str) -> AsyncIterator[Sent]:
        """Groups and batches for the learner, heartbeats between, a final frame at the end."""
        record = await self._runs.get(run_id)
        if record.state in ENDED:
            yield FinalFrame(state=record.state, reason=record.reason)
            return
        delivery = (await self._conductor.at_work(run_id)).parts.delivery
        # Closed with its reader: a stream whose reader has gone must not go on waiting for batches.
        async with aclosing(delivery.frames(incarnation=incarnation)) as frames:
            async for frame in frames:
                yield frame

    async def applied(
        self,
        run_id: str,
        *,
        incarnation: str,
        step: int,
        group_ids: Collection[str],
        refused: Mapping[str, int],
        path: str,
        digest: str,
        stats: Mapping[str, float],
    ) -> WeightRecord:
        """The learner has stepped on these groups; its weights become the next version. Reporting twice is harmless."""
        await self._checkpoints.check(self._paths.here(path))
        return await (await self._conductor.at_work(run_id)).parts.delivery.applied(
            incarnation=incarnation,
            step=step,
            group_ids=group_ids,
            refused=refused,
            path=path,
            digest=digest,
            stats=stats,
        )

    async def checkpointed(self, run_id: str, *, incarnation: str, step: int) -> None:
        """The learner has saved `step`: everything applied up to it is trained. Reporting twice is harmless."""
        if self._conductor.working(run_id) is None and (await self._runs.get(run_id)).state in ENDED:
            return
        delivery = (await self._conductor.at_work(run_id)).parts.delivery
        await delivery.checkpointed(incarnation=incarnation, step=step)

    async def offer_broadcast(self, run_id: str, *, incarnation: str, offer: BroadcastOffer) -> None:
        """A learner can broadcast its weights; raises StaleIncarnation, InvalidInput for tensors not of the model."""
        await self._checkpoints.check_offer(offer)
        (await self._heard(run_id, incarnation)).broadcasts.offer(offer)

    async def broadcast_order(self, run_id: str, *, incarnation: str, rendezvous: Rendezvous) -> BroadcastOrder | None:
        """What a learner that listens is to broadcast, within a heartbeat; raises StaleIncarnation."""
        parts = await self._heard(run_id, incarnation)
        return await parts.broadcasts.next_order(rendezvous, wait_s=self._heartbeat_s)

    async def is_broadcast_over(self, run_id: str, *, incarnation: str, group: str) -> bool:
        """Whether a round is over, within a heartbeat; raises StaleIncarnation."""
        parts = await self._heard(run_id, incarnation)
        return await parts.broadcasts.is_over(group, wait_s=self._heartbeat_s)

    async def _heard(self, run_id: str, incarnation: str) -> Parts:
        """The parts of a run at work, for the learner that is attached to it."""
        parts = (await self._conductor.at_work(run_id)).parts
        parts.delivery.check(incarnation)
        return parts
