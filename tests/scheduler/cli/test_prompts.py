"""`pilotcommit prompt`."""

import json

from scheduler.core.lifecycle import PromptState
from scheduler.service import Service
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import make_busy_run


async def test_a_deferred_prompt_says_why_and_when_it_returns(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("prompt", "show", "busy", "sum-3")
    assert said.code == 0
    assert "returns at version 7" in said.out
    assert "too hard" in said.out


async def test_a_reason_with_brackets_is_shown_as_it_is(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    assert "lost 3 times running: [connect]" in (await pilotcommit("prompt", "show", "busy", "sum-5")).out


async def test_a_quarantined_prompt_is_reinstated(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("prompt", "reinstate", "busy", "sum-5", "--json")
    assert json.loads(said.out)["state"] == "ready"
    assert (await service.views.prompt("busy", "sum-5")).state is PromptState.READY


async def test_a_ready_prompt_cannot_be_reinstated(pilotcommit: Command, service: Service) -> None:
    await make_busy_run(service.redis)
    said = await pilotcommit("prompt", "reinstate", "busy", "sum-0")
    assert said.code == 1
    assert "only a waiting or quarantined one can be reinstated" in said.err
