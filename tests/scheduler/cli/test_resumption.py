"""`pilotcommit run create FILE --resume`."""

from pathlib import Path

import pytest

from scheduler.core.lifecycle import RunState
from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import add_pool, end_run

FIELDS = """
run_id = "mine"
pool = "sums"
pilots = 2
commits = 2
batch_size = 2
[sampling]
max_new_tokens = 8
[budget]
rollouts = 100
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A run that nobody has created yet."""
    path = tmp_path / "run.toml"
    path.write_text(FIELDS)
    return str(path)


async def test_a_run_that_is_not_there_is_created_and_one_that_is_there_is_left_alone(
    pilotcommit: Command, service: Service, file: str
) -> None:
    await add_pool(service.redis, "sums")
    for _ in range(2):
        said = await pilotcommit("run", "create", file, "--resume")
        assert said.code == 0, said.err
        assert "mine" in said.out
    assert [view.record.run_id for view in await service.views.runs()] == ["mine"]


async def test_a_higher_budget_is_given_to_it_and_a_paused_run_goes_on(
    pilotcommit: Command, service: Service, file: str
) -> None:
    await add_pool(service.redis, "sums")
    await pilotcommit("run", "create", file)
    await pilotcommit("run", "pause", "mine")
    said = await pilotcommit("run", "create", file, "--resume", "--set", "budget.rollouts=200")
    assert said.code == 0, said.err
    record = await service.runs.get("mine")
    assert (record.state, record.config.budget.rollouts) == (RunState.QUEUED, 200)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("pilots=3",), "pilots is 2, not 3"),
        (("sampling.temperature=0.5", "seed=4"), "sampling.temperature is 1.0, not 0.5, seed is 0, not 4"),
        (("budget.rollouts=null",), "budget.rollouts is 100, not null"),
        (("budget.rollouts=50",), "50 is below 100, the limit now"),
    ],
)
async def test_a_run_that_was_created_otherwise_is_refused_and_left_alone(
    pilotcommit: Command, service: Service, file: str, settings: tuple[str, ...], said: str
) -> None:
    await add_pool(service.redis, "sums")
    await pilotcommit("run", "create", file)
    await pilotcommit("run", "pause", "mine")
    before = await service.runs.get("mine")
    refused = await pilotcommit("run", "create", file, "--resume", *(f"--set={setting}" for setting in settings))
    assert refused.code == 1
    assert said in " ".join(refused.err.split())
    assert await service.runs.get("mine") == before


async def test_a_run_that_has_ended_is_shown(pilotcommit: Command, service: Service, file: str) -> None:
    await add_pool(service.redis, "sums")
    await pilotcommit("run", "create", file)
    await end_run(service.redis, "mine")
    said = await pilotcommit("run", "create", file, "--resume", "--set", "budget.rollouts=200")
    assert (said.code, RunState.CANCELLED in said.out) == (0, True)


async def test_it_needs_an_id(pilotcommit: Command) -> None:
    said = await pilotcommit("run", "create", "--resume", "--pool", "sums", "--max-new-tokens", "8")
    assert (said.code, "which run?" in said.err) == (2, True)
