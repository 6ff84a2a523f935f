"""All processes and a real SGLang server: a pool is profiled, two pools are mixed, and the run is exported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from scheduler.cli import main
from scheduler.cli.answers import Run, read
from scheduler.cli.profile_answers import Profile
from scheduler.client import Client, Json
from tests.e2e.conftest import StartService
from tests.e2e.local_service import PROMPT_IDS, LocalService

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

REWARDS = {"even": "tests.e2e.rewards:starts_even", "odd": "tests.e2e.rewards:starts_odd"}
SMALL: Json = {
    "pilots": 4,
    "commits": 4,
    "batch_size": 4,
    "allocator": "pilot_commit",
    "parameters": {"rounds": None, "defer_for": 8, "evict_for": 32},
    "sampling": {"max_new_tokens": 8, "ignore_eos": True},
}


async def test_a_pool_is_profiled_two_are_mixed_and_the_run_is_exported(
    start_service: StartService, tmp_path: Path
) -> None:
    async with start_service() as service:
        await service.ask(lambda client: _create_pools(client, service))
        looked = await service.ask(lambda client: client.create_run({**SMALL, "mode": "profile", "pool": "even"}))
        ended = await service.ended(str(looked["run_id"]))
        assert (ended.state, ended.version) == ("finished", 1)
        found = read(await service.ask(lambda client: client.profile(ended.run_id)), Profile)
        assert (found.prompts, found.rollouts) == (len(PROMPT_IDS), 4 * len(PROMPT_IDS))
        assert found.mixed_rate
        pools = [{"name": "even", "weight": 3}, {"name": "odd"}]
        asked = {**SMALL, "pools": pools, "max_steps": 4, "budget": {"rollouts": 2000}}
        mixed = await service.ask(lambda client: client.create_run(asked))
        run = await service.ended(str(mixed["run_id"]))
        assert run.state == "finished", run
        folder = tmp_path / "exported"
        assert await service.ask(lambda _: main(["export", run.run_id, str(folder), "--url", service.stack.url])) == 0
        trained = _check_export(folder, run)
        page = await service.ask(lambda client: client.completions(run.run_id, trained))
    even, odd = run.pools
    assert abs(even.claimed + even.forfeited - 3 * (odd.claimed + odd.forfeited)) <= 4
    assert even.rollouts + odd.rollouts == run.spend.rollouts
    visits = cast(Sequence[Mapping[str, Sequence[Mapping[str, object]]]], page["visits"])
    assert any(each["text"] for visit in visits for each in visit["completions"])


def _create_pools(client: Client, service: LocalService) -> None:
    for pool, reward in REWARDS.items():
        client.create_pool(pool, tokenizer=str(service.stack.plan.model), reward=f"python:{reward}")
        client.add_prompts(pool, ({"id": name, "text": f"{name[1:]} + 2 ="} for name in PROMPT_IDS))


def _check_export(folder: Path, run: Run) -> str:
    """The files agree with what the run says of itself; the name of a prompt that was trained on."""
    ledger = parquet.read_table(folder / "ledger.parquet")
    sampled = ledger.filter(pc.field("stage").isin(["pilot", "commit"]))
    for unit, spent in (("attempts", run.spend.rollouts), ("generated_tokens", run.spend.tokens)):
        assert pc.sum(sampled.filter(pc.field("unit") == unit)["value"]).as_py() == spent
    rollouts = parquet.read_table(folder / "completions.parquet").to_pylist()
    assert len(rollouts) == run.spend.rollouts
    for row in rollouts:
        if row["reward"] is not None:
            is_odd = ord(row["text"][0]) % 2 == 1 if row["text"] else None
            wanted = row["prompt_id"].startswith("odd:")
            assert row["correct"] is (is_odd is wanted)
    groups = parquet.read_table(folder / "groups.parquet").to_pylist()
    trained = [row["prompt_id"] for row in groups if row["group_end"] == "trained"]
    assert len(trained) == 16
    return str(trained[0])
