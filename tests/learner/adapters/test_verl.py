"""verl's own replay buffer, advantages and checkpoint callback work on what the stream gives: the real package."""

import json
from pathlib import Path

import pytest

from tests.learner.adapters.conftest import run_job
from tests.learner.adapters.environments import VERL
from tests.scheduler.training_site import TrainingSite

pytestmark = pytest.mark.timeout(500)


async def test_verl_trains_on_the_groups_of_a_run_and_its_checkpoints_are_the_weight_versions(
    site: TrainingSite, tmp_path: Path
) -> None:
    found = json.loads(
        await run_job(VERL.required(), "verl_job.py", site.url, str(site.model), str(tmp_path), RAY_DISABLE_METRICS="1")
    )
    assert "samples at temperature 1, and actor_rollout_ref.rollout.temperature is 0.7" in found["refused"]
    assert len(found["steps"]) == 3
    for step, rows in enumerate(found["steps"], start=1):
        assert {row["uid"] for row in rows} == {f"step{step}prompt0", f"step{step}prompt1"}
        assert len(rows) == 16
        for uid in {row["uid"] for row in rows}:
            group = [row for row in rows if row["uid"] == uid]
            assert {row["reward"] for row in group} == {0.0, 1.0}
            assert sum(row["advantage"] for row in group) == pytest.approx(0.0, abs=1e-4)
            assert all((row["advantage"] > 0) == (row["reward"] > 0) for row in group)
            assert len({tuple(row["prompt"]) for row in group}) == 1
        assert {row["logprob"] for row in rows} == {-0.5}
    assert found["ending"].startswith("StreamEnded: the run is finished")
    run = await site.get()
    assert (run["state"], run["step"], await site.trained()) == ("finished", 3, 6)
    weights = (await site.get("/weights"))["weights"]
    assert isinstance(weights, list)
    assert [record["path"] for record in weights] == [
        *(str(tmp_path / f"global_step_{step}" / "actor" / "huggingface") for step in (3, 2, 1)),
        str(site.model),
    ]
