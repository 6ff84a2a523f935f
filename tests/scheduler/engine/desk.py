"""A delivery whose groups are made by hand.

Owns: building it on a real Redis as a scheduler would, and the calls of its learner. Never has a server.
"""

import asyncio
from contextlib import aclosing
from pathlib import Path

from scheduler.core.allocators.pilot_commit import PilotCommit
from scheduler.core.path_map import SAME_EVERYWHERE
from scheduler.core.run import RunConfig
from scheduler.engine.batches import Batches
from scheduler.engine.delivery import Delivery, DeliverySettings
from scheduler.engine.pipeline import Pipeline
from scheduler.engine.rule_in_force import RuleInForce
from scheduler.frames import BatchFrame
from scheduler.state.groups import GroupEntry
from scheduler.state.versions import WeightRecord, recent_versions
from scheduler.state.wire import text
from tests.scheduler.state.stores import Stores

QUICK = DeliverySettings(heartbeat_s=0.01, patience_s=0.02)


class Desk:
    """A delivery whose groups are made without servers."""

    def __init__(
        self,
        stores: Stores,
        folder: Path,
        config: RunConfig,
        delivery: Delivery,
        batches: Batches,
        rule: RuleInForce,
    ) -> None:
        self.stores = stores
        self.folder = folder
        self.config = config
        self.delivery = delivery
        self.batches = batches
        self.rule = rule
        self.pipeline = delivery._pipeline
        self.announced: list[int] = []
        self._made = 0

    @classmethod
    async def open(cls, stores: Stores, folder: Path, config: RunConfig) -> "Desk":
        """The delivery of the run as its scheduler would build it now."""
        newest = await recent_versions(stores.redis, stores.keys, count=1)
        found = await stores.redis.hgetall(stores.keys.meta)
        meta = {text(name): text(value) for name, value in found.items()}
        pipeline = Pipeline(
            batch_size=config.batch_size,
            max_staleness=config.max_staleness,
            pilot_cap=8,
            max_steps=config.max_steps,
            step=int(meta.get("step", 0)),
        )
        pipeline.change(put=await stores.groups.entries(), policy_version=int(meta.get("version", 0)))
        rule = RuleInForce(
            PilotCommit(pilots=2, commits=2, rounds=None),
            runs=stores.runs,
            run_id=stores.keys.run_id,
            step=0,
            batch_size=4,
        )
        batches = Batches(
            run_id="run",
            config=config,
            rule=rule,
            pipeline=pipeline,
            groups=stores.groups,
            patience_s=QUICK.patience_s,
        )
        announced: list[int] = []

        async def on_weights(record: WeightRecord) -> None:
            announced.append(record.version)

        delivery = Delivery(
            run_id="run",
            config=config,
            batches=batches,
            pipeline=pipeline,
            groups=stores.groups,
            versions=stores.versions,
            on_weights=on_weights,
            checkpointed_step=int(meta.get("checkpointed_step", 0)),
            incarnation=meta.get("incarnation", ""),
            last_weights=newest[0] if newest else None,
            paths=SAME_EVERYWHERE,
            settings=QUICK,
        )
        desk = cls(stores, folder, config, delivery, batches, rule)
        desk.announced = announced
        return desk

    async def begin(self) -> None:
        """A learner attaches and publishes version 1."""
        await self.delivery.attach(incarnation="a", step=0, trained={})
        await self.publish("w0", step=0)

    async def publish(self, name: str, *, step: int, incarnation: str = "a") -> int:
        path = self.weights(name)
        record = await self.delivery.publish(incarnation=incarnation, step=step, path=path, digest=name)
        return record.version

    def weights(self, name: str) -> str:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return str(path)

    async def make_groups(self, count: int, *, version: int = 1) -> list[str]:
        """Publish so many groups."""
        entries: list[GroupEntry] = []
        for _ in range(count):
            self._made += 1
            entries.append(await self.stores.make_group(f"p{self._made}", version=version))
        self.pipeline.change(put=entries)
        return [entry.group_id for entry in entries]

    async def take(self, incarnation: str = "a") -> BatchFrame:
        """The next batch on the stream."""
        async with aclosing(self.delivery.frames(incarnation=incarnation)) as frames, asyncio.timeout(30):
            async for frame in frames:
                if isinstance(frame, BatchFrame):
                    return frame
        raise AssertionError("no batch")

    async def apply(
        self,
        batch: BatchFrame,
        *,
        refused: dict[str, int] | None = None,
        incarnation: str = "a",
        stats: dict[str, float] | None = None,
    ) -> int:
        """Report a step on a batch."""
        refused = refused or {}
        record = await self.delivery.applied(
            incarnation=incarnation,
            step=batch.step,
            group_ids=[name for name in batch.group_ids if name not in refused],
            refused=refused,
            path=self.weights(f"w{batch.step}"),
            digest=f"w{batch.step}",
            stats=stats or {},
        )
        return record.version
