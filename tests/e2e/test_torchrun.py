"""A learner of two ranks under torchrun, beside a scheduler and a fake server, all of them processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scheduler.child import Child
from scheduler.ports import free_port
from tests.e2e.books import Books, learner_book
from tests.e2e.local_service import LocalService, started
from tests.tiny_model import write_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

STEPS, GROUPS = 4, 4


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    """Without a learner."""
    model, port = write_tiny_model(tmp_path / "model", seed=3), free_port()
    server = Child(
        name="server",
        module="tests.chaos.processes.server",
        arguments=(str(port), str(model), str(tmp_path / "witness")),
        environment={},
        log_path=tmp_path / "server.log",
        max_restarts=0,
    )
    serving = asyncio.create_task(server.run())
    try:
        async with started(
            tmp_path / "state",
            model=model,
            servers=(f"http://127.0.0.1:{port}",),
            server_log=server.log_path,
            learners=False,
        ) as service:
            yield service
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_two_ranks_train_a_run_to_its_end_and_its_books_close(service: LocalService) -> None:
    run_id = await service.submit(max_steps=STEPS, batch_size=GROUPS, max_staleness=100, budget={"rollouts": 800})
    learner = service.learner(run_id, num_ranks=2)
    await service.within(120, learner.run())
    run = await service.ended(run_id)
    assert run.state == "finished", (run, learner.last_words())
    books = await service.ask(lambda client: Books.read(client, run_id))
    books.check_closed()
    assert {step: len(groups) for step, groups in books.trained().items()} == dict.fromkeys(range(1, STEPS + 1), GROUPS)
    assert books.trained() == learner_book(service.run_folder(run_id))
