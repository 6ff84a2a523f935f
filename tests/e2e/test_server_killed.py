"""A server that is killed in the middle of a run comes back with the run's current weights."""

import os
import signal

import pytest

from inference.supervisor import Supervisor
from scheduler.core.ledger import Outcome
from tests.e2e.books import Books, learner_book
from tests.e2e.conftest import StartService

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

STEPS = 4


async def test_a_killed_server_comes_back_with_the_current_weights_and_the_run_ends(
    start_service: StartService, sglang: Supervisor
) -> None:
    restarts = sglang.num_restarts
    async with start_service() as service:
        # Long completions, so that some are under way at any moment between two steps.
        run_id = await service.submit(
            max_steps=STEPS, budget={"rollouts": 1200}, sampling={"max_new_tokens": 200, "ignore_eos": True}
        )
        await service.until(run_id, lambda run: run.step >= 1 and run.spend.reserved_rollouts > 0)
        await service.until_server(lambda server: server.in_flight > 0)
        assert sglang.pid is not None
        os.kill(sglang.pid, signal.SIGKILL)
        away = await service.until_server(lambda server: server.state == "dead")
        waiting = await service.until(run_id, lambda run: run.waiting_for != "")
        back = await service.until_server(lambda server: server.state == "healthy", deadline_s=120.0)
        run = await service.ended(run_id)
        books = await service.ask(lambda client: Books.read(client, run_id))
    assert sglang.num_restarts == restarts + 1
    assert away.url in waiting.waiting_for
    # It started with the weights of step 0, which it may not serve: nothing but the run's newest made it ready.
    assert back.version > 1
    assert (run.state, run.step) == ("finished", STEPS)
    books.check_closed()
    books.check_groups()
    assert books.ended(Outcome.LOST) > 0
    assert books.trained() == learner_book(service.run_folder(run_id))
