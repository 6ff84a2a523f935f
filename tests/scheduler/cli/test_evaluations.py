"""`pilotcommit evaluation`."""

import json

from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import make_busy_run


async def test_evaluations_are_listed_with_their_accuracy(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    for said in (
        await pilotcommit("evaluation", "list", "busy"),
        await pilotcommit("evaluation", "show", "busy", "eval-1"),
    ):
        assert said.code == 0
        assert "62.5 %" in said.out


async def test_json_has_the_results_by_prompt(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("evaluation", "show", "busy", "eval-1", "--json")
    said_of = json.loads(said.out)["results"]["sum-1"]
    assert said_of == {"correct": 1, "judged": 4, "failed": 0, "probability": None, "reason": ""}


async def test_a_run_that_is_not_at_work_cannot_be_evaluated(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("evaluation", "create", "busy", "--pool", "held-out", "--rollouts", "2", "--version", "1")
    assert said.code == 1
    assert "not at work" in said.err
