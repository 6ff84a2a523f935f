"""The example is short, trains a run to its end, and goes on from its checkpoint after it was killed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from safetensors.numpy import load_file

from scheduler.taking import Progress
from tests.scheduler.training_site import TrainingSite

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_from_stream.py"
DEADLINE_S = 90.0


@asynccontextmanager
async def _training(site: TrainingSite, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {"PILOTCOMMIT_URL": site.url, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        "run",
        str(site.model),
        str(folder),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _train_to_the_end(site: TrainingSite, folder: Path) -> None:
    async with _training(site, folder) as process, asyncio.timeout(DEADLINE_S):
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()


def test_the_example_is_as_short_as_it_is_said_to_be() -> None:
    body = EXAMPLE.read_text().split("def group_loss", 1)[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 60


async def test_the_example_trains_a_run_to_its_end_and_publishes_every_step(site: TrainingSite, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    await _train_to_the_end(site, folder)
    run = await site.get()
    assert (run["state"], run["step"]) == ("finished", 3)
    assert await site.trained() == 6
    weights = (await site.get("/weights"))["weights"]
    assert isinstance(weights, list)
    assert [record["path"] for record in weights] == [
        *(str(folder / f"version-{version}") for version in (4, 3, 2)),
        str(site.model),
    ]
    assert all("loss" in record["stats"] for record in weights[:3])
    before, after = load_file(site.model / "model.safetensors"), load_file(folder / "latest" / "model.safetensors")
    assert any((before[name] != after[name]).any() for name in before), "nothing was learnt"
    # The last three versions may still be in use when a step ends; the first was deleted.
    assert Progress.decode((folder / "latest" / "progress.json").read_bytes()).step == 3


async def test_the_example_killed_after_a_checkpoint_trains_no_group_twice(site: TrainingSite, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    async with _training(site, folder) as process, asyncio.timeout(DEADLINE_S):
        while not (folder / "latest").exists():
            assert process.returncode is None, (await process.communicate())[0].decode()
            await site.get()
        process.kill()
        await process.wait()
    await _train_to_the_end(site, folder)
    assert ((await site.get())["state"], await site.trained()) == ("finished", 6)
