"""A learner that is killed again and again loses no group and trains none twice."""

import random

import pytest

from learner.fault import FaultPoint
from scheduler.child import ChildFailed
from scheduler.core.ledger import Outcome
from tests.e2e.books import Books, learner_book
from tests.e2e.conftest import StartService

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

SEED = 20260
STEPS, GROUPS = 10, 4
PASSINGS = {
    # A group of one of the first two batches.
    FaultPoint.TAKING: 2 * GROUPS,
    # Before the first checkpoint, on the step of one, or after it.
    FaultPoint.STEPPING: 3,
    FaultPoint.BEFORE_CHECKPOINT: 2,
    FaultPoint.AFTER_CHECKPOINT: 1,
}
"""At most so many passings of each point before the kill: all of them together save no more than eight steps."""


async def test_a_learner_killed_at_every_point_loses_no_group_and_trains_none_twice(
    start_service: StartService,
) -> None:
    rng = random.Random(SEED)
    faults = [f"{point}:{rng.randint(1, most)}" for point, most in PASSINGS.items()]
    rng.shuffle(faults)
    async with start_service(learners=False) as service:
        # No group grows too stale to be delivered again, whatever the kills cost: none may be missing at the end.
        run_id = await service.submit(max_steps=STEPS, batch_size=GROUPS, max_staleness=100, budget={"rollouts": 800})
        for fault in faults:
            learner = service.learner(run_id, fault=fault)
            with pytest.raises(ChildFailed):
                await service.within(60, learner.run())
            assert learner.restarts == [-9], (fault, learner.last_words())
        await service.within(90, service.learner(run_id).run())
        run = await service.ended(run_id)
        books = await service.ask(lambda client: Books.read(client, run_id))
    assert (run.state, run.step) == ("finished", STEPS), faults
    books.check_closed()
    books.check_groups()
    assert books.ended(Outcome.ROLLED_BACK) == books.ended(Outcome.LOST) == 0, faults
    assert [len(books.trained()[step]) for step in range(1, STEPS + 1)] == [GROUPS] * STEPS
    assert books.trained() == learner_book(service.run_folder(run_id)), faults
