"""`pilotcommit pool profile` and `run profile`, against a scheduler at work on a fake server."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.cli.profile_answers import PassRateBar, Profile
from scheduler.cli.profile_picture import draw
from scheduler.cli.profile_table import profile as table
from tests.scheduler.cli.conftest import Command
from tests.scheduler.cli.shown import make_run, text_of
from tests.scheduler.engine.factories import ALWAYS, NEVER, SOMETIMES
from tests.scheduler.engine.rig import Rig, open_rig
from tests.scheduler.served import served

RATES = [SOMETIMES] * 6 + [ALWAYS] * 3 + [NEVER] * 3


@pytest_asyncio.fixture
async def rig(redis: Redis, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(redis, tmp_path, rates=RATES) as opened:
        yield opened


@pytest_asyncio.fixture
async def url(rig: Rig) -> AsyncIterator[str]:
    async with served(rig.service) as address:
        yield address


def make_profile(*, prompts: int = 10) -> Profile:
    """Half of the prompts mixed."""
    bars = [(0, 3, "defer"), (1, 5, "commit"), (2, 2, "skip")]
    return Profile(
        pilots=2,
        prompts=prompts,
        unfinished=1,
        bars=tuple(PassRateBar(correct=c, pass_rate=c / 2, prompts=n, decision=d) for c, n, d in bars),
        mean_pass_rate=0.45,
        all_wrong_rate=0.3,
        mixed_rate=0.5,
        all_right_rate=0.2,
        decisions={"defer": 3, "commit": 5, "skip": 2},
        skip_rate=0.5,
        rollouts=21,
        tokens=2100,
        tokens_per_prompt=190.9,
        tokens_per_rollout=100.0,
    )


async def test_a_pool_is_profiled_from_its_creation_to_the_report(
    pilotcommit: Command, rig: Rig, tmp_path: Path
) -> None:
    weights, picture = str(rig.folder / "launch"), tmp_path / "pictures" / "hard.svg"
    said = await pilotcommit(
        *("pool", "profile", "sums", "--max-new-tokens", "8", "--pilots", "4", "--commits", "4", "--weights", weights),
        *("--run-id", "look", "--allocator", "speed_rl", "--interval", "0.1", "--out", str(picture), "--json"),
    )
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["prompts"], found["rollouts"], len(found["bars"])) == (12, 48, 5)
    assert found["all_wrong_rate"] >= 0.25
    assert f"the picture: {picture}" in said.err
    again = await pilotcommit("run", "profile", "look", "--json")
    assert json.loads(again.out) == found
    told = await pilotcommit("run", "profile", "look")
    assert "12 of 12 with 4 pilots each" in told.out
    assert "which only looks: 4 pilots a prompt" in (await pilotcommit("run", "show", "look")).out


async def test_a_pool_that_is_not_there_cannot_be_profiled(pilotcommit: Command, rig: Rig) -> None:
    weights = str(rig.folder / "launch")
    said = await pilotcommit("pool", "profile", "none", "--max-new-tokens", "8", "--weights", weights)
    assert (said.code, "there is no pool named none" in said.err) == (1, True)


async def test_a_dry_run_of_a_profile_says_that_it_commits_nothing(pilotcommit: Command, rig: Rig) -> None:
    weights = str(rig.folder / "launch")
    said = await pilotcommit(
        *("run", "create", "--dry-run", "--pool", "sums", "--max-new-tokens", "8", "--pilots", "3"),
        *("--set", "mode=profile", "--set", f"weights={weights}"),
    )
    assert said.code == 0, said.err
    assert "3 pilots and no commits" in said.out
    assert "looks at 12 prompts: sums" in " ".join(said.out.split())
    assert "about 36" in said.out
    for wrong in ("trains on", "whole groups", "max_steps", "a step", "evaluation"):
        assert wrong not in said.out
    told = await pilotcommit(
        *("run", "create", "--dry-run", "--pool", "sums", "--max-new-tokens", "8", "--pilots", "3"),
        *("--set", "mode=profile", "--set", f"weights={weights}", "--set", "budget.rollouts=30"),
    )
    assert "at most 30" in told.out
    assert told.out.rstrip().splitlines()[-1].split()[-1] == "10"


def test_the_report_says_how_hard_the_pool_is_and_what_would_be_committed() -> None:
    told = text_of(table(make_profile(), make_run(run_id="look")))
    assert "30 % all wrong, 50 % mixed, 20 % all right" in told
    assert "3 defer, 5 commit, 2 skip" in told
    assert "191 a prompt, 100 a rollout" in told
    assert "1 unfinished" in told
    # The longest bar is that of the commits.
    assert max(told.splitlines(), key=lambda line: line.count("█")).rstrip().endswith("commit")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_written_where_it_is_wanted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"profile.{suffix}"
    draw(make_profile(), path, pool="sums", allocator="adaptive")
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
