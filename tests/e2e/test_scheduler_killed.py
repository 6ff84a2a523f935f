"""A scheduler that is killed in the middle of a run: its successor resumes, and the budget holds."""

import os
import signal
from functools import partial

import pytest

from scheduler.cli.answers import Run
from scheduler.core.ledger import Outcome
from tests.e2e.books import Books, learner_book
from tests.e2e.conftest import StartService

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

BUDGET = 480
KILLED_AT = (2, 5)


def _is_past(step: int, run: Run) -> bool:
    return run.step >= step and run.spend.reserved_rollouts > 0


async def test_a_killed_scheduler_is_resumed_within_the_budget_and_nothing_is_trained_twice(
    start_service: StartService,
) -> None:
    async with start_service() as service:
        # The budget ends the run: every attempt that the kills cost is taken from it.
        run_id = await service.submit(budget={"rollouts": BUDGET}, sampling={"max_new_tokens": 32, "ignore_eos": True})
        scheduler = service.stack.children["scheduler"]
        for step in KILLED_AT:
            # In the middle of its work; its Redis dies with it.
            await service.until(run_id, partial(_is_past, step))
            assert scheduler.pid is not None
            os.kill(scheduler.pid, signal.SIGKILL)
        run = await service.ended(run_id)
        books = await service.ask(lambda client: Books.read(client, run_id))
    assert scheduler.restarts == [-9, -9]
    assert run.state == "exhausted", run
    books.check_closed()
    books.check_groups()
    # What is left could not fund one more group.
    assert BUDGET - 8 < run.spend.rollouts <= BUDGET
    assert books.ended(Outcome.ROLLED_BACK) == 0
    assert books.trained() == learner_book(service.run_folder(run_id))
