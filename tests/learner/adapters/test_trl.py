"""TRL's own GRPOTrainer trains a run from the stream: the real package, in its environment."""

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis
from safetensors.numpy import load_file

from tests.learner.adapters.conftest import run_job
from tests.learner.adapters.environments import TRL
from tests.scheduler.training_site import TrainingSite, training_site

pytestmark = pytest.mark.timeout(500)


async def test_trl_trains_a_run_to_its_end_and_resumes_it_from_its_checkpoint(
    site: TrainingSite, tmp_path: Path
) -> None:
    python = TRL.required()
    first = json.loads(await run_job(python, "trl_job.py", site.url, str(site.model), str(tmp_path), "1"))
    assert (first["state"], len(first["logs"])) == (None, 1)
    assert await site.trained() == 2

    checkpoint = tmp_path / "trl" / "checkpoint-1"
    arguments = (site.url, str(site.model), str(tmp_path), "100", str(checkpoint))
    second = json.loads(await run_job(python, "trl_job.py", *arguments))

    assert (second["state"], len(second["logs"])) == ("finished", 3)
    assert all(entry["pilotcommit/groups"] == 2 and entry["grad_norm"] > 0 for entry in second["logs"])
    # At step 0 of the first batch the scripted log-probs are far off: a ratio was taken against them.
    assert any(entry["clip_ratio/region_mean"] > 0 for entry in second["logs"])
    run = await site.get()
    assert (run["state"], run["step"], await site.trained()) == ("finished", 3, 6)
    weights = (await site.get("/weights"))["weights"]
    assert isinstance(weights, list)
    assert [Path(record["path"]).name for record in weights] == [
        "version-5", "version-4", "checkpoint-1", "version-2", site.model.name,
    ]  # fmt: skip
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "weights/version-5"))
    kept = {folder.name for folder in (tmp_path / "weights").iterdir()}
    assert "version-5" in kept
    assert "version-2" not in kept, "weights that no server reads any more stay on the disk"
    assert any((before[name] != after[name]).any() for name in before), "nothing was learnt"


async def test_a_run_whose_last_batch_teaches_nothing_is_saved_and_ends(
    redis: Redis, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    python = TRL.required()
    async with training_site(redis, tiny_checkpoint, tmp_path, answer="9", allocator="grpo", max_steps=1) as site:
        found = json.loads(await run_job(python, "trl_job.py", site.url, str(site.model), str(tmp_path), "1"))
        assert (found["state"], found["logs"]) == ("finished", [])
        await site.reached("finished")
        assert await site.trained() == 2
