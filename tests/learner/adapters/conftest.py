"""The scheduler that adapters train from, and how a trainer's own interpreter is run."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from redis.asyncio import Redis

from tests.learner.adapters.environments import ROOT
from tests.scheduler.training_site import TrainingSite, training_site

DEADLINE_S = 200.0


@pytest_asyncio.fixture
async def site(redis: Redis, tiny_checkpoint: Path, tmp_path: Path) -> AsyncIterator[TrainingSite]:
    """A scheduler at work with one run of three steps."""
    async with training_site(redis, tiny_checkpoint, tmp_path, max_steps=3) as opened:
        yield opened


async def run_job(python: Path, job: str, *arguments: str, **variables: str) -> str:
    """What a job beside this file prints last; fails the test with its last words where it fails."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(Path(__file__).with_name(job)),
        *arguments,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | threads | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, errors.decode()[-3000:]
    *_, last = output.decode().splitlines()
    return last
