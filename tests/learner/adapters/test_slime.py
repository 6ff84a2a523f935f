"""slime's own types and its call of a rollout function work on what the stream gives: the real package."""

import json
import os
from pathlib import Path

import pytest

from tests.learner.adapters.conftest import run_job
from tests.scheduler.training_site import TrainingSite

pytestmark = pytest.mark.timeout(500)

VARIABLE = "PILOTCOMMIT_SLIME_PYTHON"


@pytest.fixture
def python() -> Path:
    """slime's interpreter."""
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(
            f"slime is not on PyPI, where another package has its name: set {VARIABLE} to the interpreter of an "
            "environment that has it, and the training client's packages"
        )
    return Path(named)


async def test_slime_trains_on_the_groups_of_a_run_and_its_checkpoints_are_the_weight_versions(
    site: TrainingSite, tmp_path: Path, python: Path
) -> None:
    where = {"PILOTCOMMIT_URL": site.url, "PILOTCOMMIT_RUN": "run"}
    found = json.loads(await run_job(python, "slime_job.py", str(site.model), str(tmp_path / "slime"), **where))
    assert "samples at temperature 1, and rollout_temperature is 0.7" in found["refused"]
    assert len(found["rollouts"]) == 3
    for rows in found["rollouts"]:
        # The run's batch has two groups; the rest of slime's third counts for nothing.
        assert [row["index"] for row in rows] == list(range(24))
        assert [row["removed"] for row in rows] == [False] * 16 + [True] * 8
        assert all(row["num_logprobs"] == row["response_length"] for row in rows)
        assert all(row["advantage"] == 0.0 for row in rows[16:])
        for group in (rows[:8], rows[8:16]):
            assert sum(row["advantage"] for row in group) == pytest.approx(0.0, abs=1e-6)
            assert all((row["advantage"] > 0) == (row["reward"] > 0) for row in group)
    assert found["ending"].startswith("the run is finished")
    run = await site.get()
    assert (run["state"], run["step"], await site.trained()) == ("finished", 3, 6)
