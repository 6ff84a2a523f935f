"""What a run costs in operations: guarded by counting them, for a clock would measure the machine.

The bounds are what the steps need; a change that needs more of them has to say why.
"""

import gc
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis

from scheduler.core.types import Stage
from scheduler.service import RunView
from tests.scheduler.engine.factories import make_config
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig, open_rig

STEPS, BATCH, PILOTS, COMMITS = 4, 4, 8, 24
TRANSACTION, GENERATE = "EVALSHA", "/generate"
OBJECTS, BYTES = 240, 28_000
"""Alive for each attempt in flight: its tasks, its request, its share of a visit, and what the fake makes of it."""


async def whole_run(rig: Rig, learner: Learner) -> RunView:
    await rig.create_run(make_config(pilots=PILOTS, commits=COMMITS, batch_size=BATCH, max_steps=STEPS))
    await learner.attach()
    await learner.train()
    return await rig.ended()


async def test_a_visit_costs_no_more_transactions_than_it_has_steps(rig: Rig, learner: Learner) -> None:
    view = await whole_run(rig, learner)
    visits = sum(count for name, count in view.counters.items() if name.startswith("verdict:"))
    committed = view.counters["verdict:commit"]
    assert committed >= STEPS * BATCH
    # Each visit is launched and ended, with what landed; a commit lands its pilots and is launched, at once where there
    # is a slot and in two where it waits for one. The rest is the run's, by steps.
    assert rig.connection.sent[TRANSACTION] <= 2 * visits + 2 * committed + 10 * STEPS + 16


async def test_an_attempt_is_one_call_of_a_server(rig: Rig, learner: Learner) -> None:
    view = await whole_run(rig, learner)
    attempts = sum(view.ledger.stages[stage].attempts for stage in (Stage.PILOT, Stage.COMMIT))
    # What asks for nothing proves, once a version, that the server generates.
    assert attempts <= rig.connection.sent[GENERATE] <= attempts + STEPS + 2


async def test_prompts_that_are_wanted_together_are_claimed_in_one_transaction(rig: Rig, learner: Learner) -> None:
    rig.fakes[0].hold()
    await rig.create_run(make_config(pilots=1, commits=1, batch_size=12, max_staleness=0))
    await learner.attach()
    before = rig.connection.sent[TRANSACTION]
    await rig.until(lambda: len(rig.fakes[0].in_flight) >= 12)
    sent = rig.connection.sent[TRANSACTION] - before
    claimed = await rig.redis.hlen(rig.stores(make_config()).keys.visits)
    # A launch for each, a claim for all of a look, and what the run says of itself meanwhile.
    assert claimed >= 12
    assert sent < claimed + 8


async def held_in_flight(redis: Redis, folder: Path, *, visits: int) -> tuple[int, Counter[str], int]:
    """Attempts in flight; the objects, by file, and the bytes that are then alive and were not before the run."""
    async with open_rig(redis, folder, capacity=1000) as rig:
        rig.fakes[0].hold()
        tracemalloc.start()
        try:
            await rig.create_run(make_config(pilots=PILOTS, commits=8, batch_size=visits, max_staleness=0))
            learner = Learner(at=lambda: rig.service, folder=rig.folder)
            await learner.attach()

            async def all_are_sent() -> bool:
                """More prompts may be claimed than are wanted; none of theirs is on its way any more."""
                opened = await rig.stores(make_config()).visits.open_visits()
                flying = sum(visit.in_flight.get(Stage.PILOT, 0) for visit, _ in opened)
                return flying == len(rig.fakes[0].in_flight) == PILOTS * len(opened) >= PILOTS * visits

            await rig.until(all_are_sent)
            gc.collect()
            found = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
        ours = found.filter_traces([tracemalloc.Filter(False, "*/tests/*"), tracemalloc.Filter(False, "*/fake/*")])
        attempts = len(rig.fakes[0].in_flight)
        lines = ours.statistics("filename")
        objects = Counter({line.traceback[0].filename: line.count for line in lines})
        return attempts, objects, sum(line.size for line in lines)


async def test_an_attempt_in_flight_is_few_objects_and_few_bytes(
    redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    few = await held_in_flight(redis, tmp_path_factory.mktemp("few"), visits=4)
    await redis.flushdb()
    many = await held_in_flight(redis, tmp_path_factory.mktemp("many"), visits=16)
    attempts = many[0] - few[0]
    objects = Counter(many[1])
    objects.subtract(few[1])
    assert attempts >= 4 * PILOTS
    assert objects.total() / attempts <= OBJECTS, objects.most_common(8)
    assert (many[2] - few[2]) / attempts <= BYTES


async def test_what_has_ended_is_freed_without_the_garbage_collector(rig: Rig, learner: Learner) -> None:
    gc.collect()
    gc.disable()
    try:
        view = await whole_run(rig, learner)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    attempts = sum(view.ledger.stages[stage].attempts for stage in (Stage.PILOT, Stage.COMMIT))
    ours = Counter({kind: count for kind, count in kinds.items() if kind.startswith(("scheduler.", "inference."))})
    assert attempts >= STEPS * BATCH * (PILOTS + COMMITS)
    assert ours.total() <= attempts // 8, kinds.most_common(12)
