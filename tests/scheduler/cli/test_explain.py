"""`pilotcommit explain` and `run unsolved`, against the real API."""

import json

from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import create_run, make_busy_run


async def test_a_run_tells_its_story(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("explain", "busy")
    assert (said.code, said.err) == (0, "")
    words = " ".join(said.out.split())
    assert "for at most 30 steps, 100 rollouts and 2,000 tokens" in words
    assert "50 % were not committed: 25 % skip (1 too easy), 12 % defer (1 too hard) and 12 % evict (1 solved)" in words
    assert "1 group is trained" in words
    assert "Visits that ended without a verdict: 1 quarantined." in words


async def test_what_a_name_means_is_found_out(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    for name, kind in (("sum-3", "prompt"), ("visit-sum-2", "group")):
        said = await pilotcommit("explain", "busy", name, "--json")
        assert json.loads(said.out)["kind"] == kind
    assert "It waits until weight version 7" in (await pilotcommit("explain", "busy", "sum-3")).out
    assert "as skip, too easy" in " ".join((await pilotcommit("explain", "busy", "visit-sum-2")).out.split())


async def test_a_name_that_means_nothing_is_answered_with_names_near_it(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("explain", "busy", "Sum-33")
    assert said.code == 1
    assert "there is no prompt, group or rollout Sum-33 here; its pool is sums; near it: sum-3" in said.err
    assert "there is no run bussy; near it: busy" in (await pilotcommit("explain", "bussy")).err


async def test_a_run_that_never_began_says_so(pilotcommit: Command, service: Service) -> None:
    await create_run(service.redis, "idle")
    said = await pilotcommit("explain", "idle")
    assert "has not claimed a prompt yet" in said.out
    assert "It is queued: its turn has come." in said.out


async def test_prompts_never_solved_are_listed_with_what_they_should_answer(
    pilotcommit: Command, service: Service
) -> None:
    await make_busy_run(service.redis)
    await service.redis.zadd("pilotcommit:{run:busy}:unsolved", {"sum-1": 9, "sum-2": 12})
    said = await pilotcommit("run", "unsolved", "busy")
    assert said.out.index("sum-2") < said.out.index("sum-1")
    assert "2 of 2 prompts never solved" in said.out
    page = json.loads((await pilotcommit("run", "unsolved", "busy", "--count", "1", "--offset", "1", "--json")).out)
    assert (page["total"], [each["prompt_id"] for each in page["prompts"]]) == (2, ["sum-1"])
    assert "no such prompt" in (await pilotcommit("run", "unsolved", "busy", "--min-rollouts", "50")).out
