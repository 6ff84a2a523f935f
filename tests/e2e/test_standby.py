"""Two schedulers on one Redis and one fleet: the second takes the run over when the first is gone."""

import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from scheduler.cli.answers import Ledger, Run, read
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from tests.chaos import evidence
from tests.chaos.actor import Actor
from tests.chaos.campaign import PROMPT_IDS, ended_in_time, prepare, request
from tests.chaos.cluster import LEASE_TTL_S, Cluster, running
from tests.chaos.invariants import violations_of
from tests.inference.processes import polled
from tests.tiny_model import write_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RUN_ID = "run"
DEADLINE_S = 90.0
SLACK_S = 8.0
"""On a busy machine; an idle one needs a second."""
RUN = {
    **request(RUN_ID, random.Random(4)),
    "allocator": "pilot_commit",
    "budget": {"rollouts": 1600},
    "max_steps": None,
    "sampling": {"max_new_tokens": 24, "ignore_eos": True},
}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two schedulers, one of them at work on a run."""
    model = write_tiny_model(tmp_path / "model", seed=3)
    # Else the one that was killed may be back before its own lease has run out, and take it.
    async with running(tmp_path, model, is_real=False, schedulers_pause_s=10.0) as cluster:
        await prepare(cluster, lambda line: None)
        await cluster.ask(lambda client: client.create_run(RUN))
        cluster.start_learner(RUN_ID)
        await until_step(cluster, 2)
        yield cluster


async def until_step(cluster: Cluster, step: int) -> None:
    """Wait until the run has come so far."""
    deadline = time.monotonic() + DEADLINE_S
    while (run := await cluster.ask(lambda client: read(client.run(RUN_ID), Run))).step < step:
        assert time.monotonic() < deadline, run


async def readiness(cluster: Cluster, index: int) -> tuple[int, str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://127.0.0.1:{cluster.scheduler_ports[index]}/readyz")
    return answer.status_code, str(answer.json().get("detail", ""))


@pytest.mark.parametrize(
    ("end", "within_s"),
    [(Actor.kill, LEASE_TTL_S), (Actor.stop, 1.0)],
    ids=["killed: once its lease has run out", "stopped: at once"],
)
async def test_a_standby_takes_the_run_over_and_nothing_is_lost(
    cluster: Cluster, end: Callable[[Actor], bool], within_s: float
) -> None:
    first = cluster.at_work
    assert first is not None
    standby = 1 - first
    status, detail = await readiness(cluster, standby)
    assert (status, "standby" in detail, RUN_ID in detail) == (503, True, True), detail
    ledger = await cluster.ask(lambda client: read(client.ledger(RUN_ID), Ledger))
    # The standby has looked at the servers for seconds: had it taken them over, attempts would have been lost.
    assert ledger.stages[Stage.PILOT].outcomes[Outcome.LOST] == 0
    assert end(cluster.schedulers[first])
    ended_at = time.monotonic()
    await polled(lambda: cluster.at_work == standby, deadline_s=DEADLINE_S)
    assert time.monotonic() - ended_at < within_s + SLACK_S
    step = (await cluster.ask(lambda client: read(client.run(RUN_ID), Run))).step
    await until_step(cluster, step + 1)
    assert await ended_in_time(cluster, RUN_ID, within_s=200.0)
    assert violations_of(await evidence.gather(cluster, RUN_ID, PROMPT_IDS)) == []
