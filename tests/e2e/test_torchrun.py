"""A learner of several ranks under torchrun, beside a scheduler and a fake server, all of them processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from scheduler.child import Child, ChildFailed
from scheduler.cli.answers import Run
from scheduler.ports import free_port
from tests.e2e.books import Books, learner_book
from tests.e2e.local_service import LocalService, started
from tests.tiny_model import write_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

NUM_STEPS, GROUPS = 40, 4
"""Enough steps for none of the lives to reach the end before it is struck."""


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


def has_reached(version: int) -> Callable[[Run], bool]:
    return lambda run: run.version >= version


async def submitted(service: LocalService, num_steps: int) -> str:
    return await service.submit(
        max_steps=num_steps, batch_size=GROUPS, max_staleness=100, budget={"rollouts": 200 * num_steps}
    )


async def check(service: LocalService, run_id: str, num_steps: int) -> None:
    """The run ended well, and the books of scheduler and learner say the same."""
    assert (await service.ended(run_id)).state == "finished", service.last_words()
    books = await service.ask(lambda client: Books.read(client, run_id))
    books.check_closed()
    books.check_groups()
    trained = books.trained()
    assert {step: len(groups) for step, groups in trained.items()} == dict.fromkeys(range(1, num_steps + 1), GROUPS)
    assert trained == learner_book(service.run_folder(run_id))


def torchrun_of(learner: Child) -> psutil.Process:
    """The parent of its ranks."""
    # Without a pid psutil would take this very process, and a strike would hit the tests.
    assert learner.pid is not None
    return psutil.Process(learner.pid)


def ranks_of(learner: Child) -> dict[str, psutil.Process]:
    """Its processes by their rank."""
    processes = torchrun_of(learner).children(recursive=True)
    return {process.environ()["RANK"]: process for process in processes if "RANK" in process.environ()}


async def test_two_ranks_train_a_run_to_its_end_and_its_books_close(service: LocalService) -> None:
    run_id = await submitted(service, 4)
    await service.within(120, service.learner(run_id, num_ranks=2).run())
    await check(service, run_id, 4)


STRIKES: tuple[Callable[[Child], None], ...] = (
    lambda learner: ranks_of(learner)["1"].kill(),
    lambda learner: torchrun_of(learner).kill(),
    lambda learner: torchrun_of(learner).terminate(),
)


async def test_whatever_is_killed_takes_all_ranks_with_it_and_one_goes_on_where_two_were_stopped(
    service: LocalService,
) -> None:
    run_id = await submitted(service, NUM_STEPS)
    for strike in STRIKES:
        before = await service.until(run_id, lambda run: True)
        learner = service.learner(run_id, num_ranks=2)
        life = asyncio.create_task(learner.run())
        # Its first version is of the weights that it begins with, the next of a step.
        await service.until(run_id, has_reached(before.version + 2))
        ranks = list(ranks_of(learner).values())
        assert len(ranks) == 2
        strike(learner)
        # Of torchrun, which has no exit code for a stop that went well.
        with pytest.raises(ChildFailed):
            await service.within(30, life)
        _, alive = await asyncio.to_thread(psutil.wait_procs, ranks, timeout=20)
        assert alive == [], learner.last_words()
    stopped = await service.until(run_id, lambda run: run.checkpointed_step == run.step)
    assert 0 < stopped.step < NUM_STEPS, learner.last_words()

    await service.within(60, service.learner(run_id).run())
    await check(service, run_id, NUM_STEPS)
