"""`pilotcommit compare`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from scheduler.cli.words import DASH
from scheduler.core.evaluation import EvaluationState
from scheduler.service import Service
from scheduler.state.evaluations import EvaluationRecord, Measured
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import add_pool, create_run
from tests.scheduler.state.stores import Stores, make_weights

JUDGED = 100


async def trained(service: Service, run_id: str, curve: Sequence[tuple[int, int]], *, pool: str = "held-out") -> None:
    """A run with evaluations, of which so many in a hundred were right when so many rollouts had been spent; a rollout
    is ten tokens, and a version comes every hour."""
    await create_run(service.redis, run_id)
    stores = await Stores.open(service.redis, run_id)
    await stores.runs.note(stores.transactor, started_at=0.0)
    for number, (rollouts, correct) in enumerate(curve):
        version = number + 1
        await stores.versions.announce(
            replace(
                make_weights(version, step=number),
                announced_at=3600.0 * number,
                spent_rollouts=rollouts,
                spent_tokens=10 * rollouts,
            )
        )
        await stores.evaluations.put(
            EvaluationRecord(
                evaluation_id=f"eval-{version}",
                pool=pool,
                num_rollouts=JUDGED,
                num_prompts=1,
                created_at=float(number),
                version=version,
                step=number,
                state=EvaluationState.DONE,
                results={"sum-1": Measured(correct=correct, judged=JUDGED)},
            )
        )


@pytest_asyncio.fixture
async def two_runs(service: Service) -> tuple[str, str]:
    """One that got to .6 with 1,000 rollouts in two hours, and one that passed it at 250 in half an hour."""
    await add_pool(service.redis, "sums")
    await trained(service, "slow", [(0, 20), (500, 40), (1000, 60)])
    await trained(service, "quick", [(0, 20), (500, 100)])
    return "slow", "quick"


async def test_runs_are_compared_where_all_have_got(pilotcommit: Command, two_runs: tuple[str, str]) -> None:
    said = await pilotcommit("compare", *two_runs)
    assert said.code == 0, said.err
    lines = {" ".join(line.split()) for line in said.out.splitlines()}
    assert {
        "slow quick",
        "accuracy first, best, last 20.0 %, 60.0 %, 60.0 % 20.0 %, 100.0 %, 100.0 %",
        "rollouts to 60.0 % 1,000 250 (4.00 times fewer)",
        "tokens to 60.0 % 10,000 2,500 (4.00 times fewer)",
        "accuracy on held-out by rollouts; between two evaluations it is taken to grow evenly",
    } <= lines
    assert "GPU-hours" not in said.out


async def test_gpu_hours_are_of_tokens_or_of_wall_clock(pilotcommit: Command, two_runs: tuple[str, str]) -> None:
    by_tokens = await pilotcommit("compare", *two_runs, "--tokens-per-gpu-s", "0.5", "--price", "2")
    lines = {" ".join(line.split()) for line in by_tokens.out.splitlines()}
    assert {"GPU-hours to 60.0 % 5.56 1.39", f"GPU-hours saved {DASH} 4.17", f"money saved {DASH} 8.33"} <= lines
    by_time = await pilotcommit("compare", *two_runs, "--gpus", "4")
    lines = {" ".join(line.split()) for line in by_time.out.splitlines()}
    assert {"GPU-hours to 60.0 % 8.00 2.00", f"GPU-hours saved {DASH} 6.00"} <= lines


async def test_an_accuracy_that_one_has_not_reached_is_said(pilotcommit: Command, two_runs: tuple[str, str]) -> None:
    said = await pilotcommit("compare", *two_runs, "--at", "0.8", "--gpus", "4", "--json")
    slow, quick = json.loads(said.out)["runs"]
    assert (slow["at_accuracy"], slow["gpu_hours"]) == (None, None)
    assert quick["at_accuracy"] == pytest.approx({"rollouts": 375.0, "tokens": 3750.0, "seconds": 2700.0})
    assert "not reached" in (await pilotcommit("compare", *two_runs, "--at", "0.8")).out


async def test_evaluations_on_another_pool_are_not_held_against_it(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    await trained(service, "slow", [(0, 20), (500, 40)])
    await trained(service, "other", [(0, 20), (500, 40)], pool="elsewhere")
    said = await pilotcommit("compare", "slow", "other")
    assert "no evaluation on held-out by rollouts: other" in said.out
    assert "rollouts to" not in said.out


async def test_a_run_without_an_evaluation_is_still_shown(pilotcommit: Command, service: Service) -> None:
    await add_pool(service.redis, "sums")
    for run_id in ("first", "second"):
        await create_run(service.redis, run_id)
    said = await pilotcommit("compare", "first", "second")
    assert (said.code, "first has no evaluation" in said.out) == (0, True)


async def test_a_picture_is_drawn(pilotcommit: Command, two_runs: tuple[str, str], tmp_path: Path) -> None:
    for name in ("curves.png", "curves.svg"):
        path = tmp_path / "pictures" / name
        said = await pilotcommit("compare", *two_runs, "--out", str(path))
        assert (said.code, str(path) in "".join(said.err.split("\n"))) == (0, True)
        assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("compare", "slow"), 2, "two runs at least"),
        (("compare", "slow", "slow"), 2, "two runs at least"),
        (("compare", "slow", "nowhere"), 1, "nowhere"),
        (("compare", "slow", "quick", "--gpus", "1", "--tokens-per-gpu-s", "9"), 2, "give one"),
        (("compare", "slow", "quick", "--price", "2"), 2, "of how many hours"),
    ],
)
@pytest.mark.usefixtures("two_runs")
async def test_what_cannot_be_compared_is_said(
    pilotcommit: Command, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found = await pilotcommit(*arguments)
    assert (found.code, said in " ".join(found.err.split())) == (code, True), found.err
