"""`pilotcommit run watch`."""

import asyncio
import json
import os
import signal
import sys

import pytest

from scheduler.cli.watch import Look, as_snapshot
from scheduler.client import Client, Json
from scheduler.core.lifecycle import RunState
from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import add_pool, create_run, end_run, make_busy_run


async def test_watching_ends_with_the_run(pilotcommit: Command, service: Service) -> None:
    await create_run(service.redis, "mine")
    watching = asyncio.create_task(pilotcommit("run", "watch", "mine", "--json", "--interval", "0.1"))
    await service.orders.cancel("mine")
    said = await watching
    assert said.code == 0
    assert json.loads(said.out.splitlines()[-1])["state"] == "cancelled"


async def test_a_run_is_watched_from_its_creation_on(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    creating = asyncio.create_task(
        pilotcommit("run", "create", "--pool", "sums", "--run-id", "mine", "--max-new-tokens", "8", "--watch")
    )
    async with asyncio.timeout(30.0):
        # Another thread creates it: there is nothing to wait for but its appearance.
        while "mine" not in await service.runs.ids():  # noqa: ASYNC110
            await asyncio.sleep(0)
    await service.orders.cancel("mine")
    said = await creating
    assert said.code == 0
    assert "cancelled | cancelled by an operator" in said.out


async def test_a_run_that_failed_ends_with_1(pilotcommit: Command, service: Service) -> None:
    await create_run(service.redis, "mine")
    await end_run(service.redis, "mine", state=RunState.FAILED)
    said = await pilotcommit("run", "watch", "mine")
    assert said.code == 1
    assert "failed | enough seen" in said.out


async def test_a_run_that_does_not_exist_is_not_waited_for(pilotcommit: Command) -> None:
    said = await pilotcommit("run", "watch", "nobody")
    assert said.code == 1
    assert said.err == "error: there is no run nobody\n"


async def look_at(url: str, run_id: str) -> Look:
    def look() -> Look:
        with Client(url) as client:
            return Look(
                run=client.run(run_id),
                ledger=client.ledger(run_id),
                evaluations=client.evaluations(run_id),
                servers=client.servers(),
            )

    return await asyncio.to_thread(look)


async def test_a_snapshot_carries_the_runs_own_numbers(service: Service, url: str) -> None:
    await make_busy_run(service.redis)
    shown = as_snapshot(await look_at(url, "busy"), now=62.0)
    view = await service.views.run("busy")
    assert shown.title == "busy · sums · pilot_commit"
    assert shown.elapsed_s == 60.0
    assert shown.rollouts_used == view.ledger.spent_rollouts
    assert (shown.rollouts_budget, shown.step, shown.max_steps, shown.version) == (100, 1, 30, 2)
    assert shown.accuracy is not None
    assert shown.accuracy.estimate == 5 / 8


@pytest.mark.parametrize("changes", [{"pool": "another"}, {"measure": "likelihood"}], ids=str)
async def test_accuracies_of_another_pool_or_measure_are_not_compared(
    service: Service, url: str, changes: dict[str, str]
) -> None:
    await make_busy_run(service.redis)
    look = await look_at(url, "busy")
    other: Json = {**look.evaluations[0], **changes, "results": {"p": {"correct": 0, "judged": 4}}}
    both = Look(run=look.run, ledger=look.ledger, evaluations=[*look.evaluations, other], servers=look.servers)
    assert as_snapshot(both, now=62.0).accuracy == as_snapshot(look, now=62.0).accuracy


async def test_ctrl_c_leaves_the_run_alone_and_says_so(service: Service, url: str) -> None:
    await create_run(service.redis, "mine")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; from scheduler.cli import main; sys.exit(main())"),
        *("run", "watch", "mine", "--url", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert process.stdout is not None
    assert b"queued" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert "the run goes on; `pilotcommit run watch mine`" in err.decode()
    assert (await service.runs.get("mine")).state is RunState.QUEUED
