"""A backup as docs/operations.md says: all is destroyed and brought back, and the run goes on with nothing lost."""

import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inference.fake import FakeConfig, FakeServer, create_fake
from learner.sealed_directory import UNFINISHED
from scheduler.cli.answers import Ledger, Run
from scheduler.core.ledger import OpenState, Outcome
from tests.e2e.books import Books, learner_book
from tests.e2e.local_service import LocalService, started
from tests.scheduler.served import listening

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

STEPS, GROUPS, GROUP_SIZE = 24, 4, 8
EARLY = 4
"""A step after which the run has a while to go: a step takes a tenth of a second."""
BUDGET = 2400


@pytest_asyncio.fixture
async def server(model: Path) -> AsyncIterator[str]:
    """A server that outlives the disaster, with whatever it was given before."""
    async with listening(create_fake(FakeServer(FakeConfig(model_path=str(model))))) as url:
        yield url


async def submitted(service: LocalService) -> str:
    return await service.submit(max_steps=STEPS, batch_size=GROUPS, max_staleness=100, budget={"rollouts": BUDGET})


def is_at_rest(ledger: Ledger) -> bool:
    """Nothing is in flight, and what is published is less than the learner needs for a step."""
    lines = ledger.stages.values()
    published = sum(line.open[OpenState.PUBLISHED] for line in lines)
    return not any(line.open[OpenState.IN_FLIGHT] for line in lines) and published < GROUPS * GROUP_SIZE


async def check_end(service: LocalService, run_id: str, before: Run) -> None:
    """The run ended as if nothing had happened to it."""
    run = await service.ended(run_id)
    books = await service.ask(lambda client: Books.read(client, run_id))
    assert (run.state, run.step) == ("finished", STEPS)
    assert before.spend.rollouts <= run.spend.rollouts <= BUDGET
    books.check_closed()
    books.check_groups()
    assert books.ended(Outcome.ROLLED_BACK) == 0
    assert [len(books.trained()[step]) for step in range(1, STEPS + 1)] == [GROUPS] * STEPS
    assert books.trained() == learner_book(service.run_folder(run_id))


async def test_a_stopped_service_is_brought_back_from_an_archive_of_its_folder(
    model: Path, server: str, tmp_path: Path
) -> None:
    folder, archive = tmp_path / "service", tmp_path / "backup.tar"
    async with started(folder, model=model, servers=(server,)) as service:
        run_id = await submitted(service)
        before = await service.until(run_id, lambda run: run.step >= EARLY)
    with tarfile.open(archive, "w") as backup:
        backup.add(folder, arcname=".")
    shutil.rmtree(folder)
    with tarfile.open(archive) as backup:
        backup.extractall(folder, filter="data")
    async with started(folder, model=model, servers=(server,)) as service:
        await check_end(service, run_id, before)


async def test_a_paused_service_is_brought_back_from_copies_made_while_it_went_on(
    model: Path, server: str, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "service", tmp_path / "copy"
    async with started(folder, model=model, servers=(server,)) as service:
        run_id = await submitted(service)
        await service.until(run_id, lambda run: run.step >= EARLY)
        await service.ask(lambda client: client.pause(run_id))
        before = await service.until(run_id, lambda run: run.state == "paused")
        await service.until_ledger(run_id, is_at_rest)
        # Redis first: a learner may be ahead of its ledger, which then learns from the checkpoint, and never behind it.
        shutil.copytree(folder / "redis", copy / "redis")
        shutil.copytree(folder / "runs", copy / "runs", symlinks=True, ignore=shutil.ignore_patterns(f"{UNFINISHED}*"))
        # What is done after the backup is lost with what it was done in.
        await service.ask(lambda client: client.resume(run_id))
        await service.until(run_id, lambda run: run.state == "running")
    shutil.rmtree(folder)
    shutil.copytree(copy, folder, symlinks=True)
    async with started(folder, model=model, servers=(server,)) as service:
        await service.until(run_id, lambda run: run.state == "paused")
        await service.resume(run_id)
        await check_end(service, run_id, before)
