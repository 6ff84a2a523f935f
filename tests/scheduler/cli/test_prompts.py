"""`pilotcommit prompt`."""

import json

from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Stage
from scheduler.service import Service
from scheduler.state.records import Attempt
from scheduler.state.visit import Landing, Trace
from tests.factories import make_rollout
from tests.scheduler.cli.conftest import Command
from tests.scheduler.runs_in_redis import make_busy_run
from tests.scheduler.state.stores import make_event, make_row


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


async def test_completions_are_shown_visit_by_visit_and_what_is_gone_is_said_to_be(
    pilotcommit: Command, service: Service
) -> None:
    stores = await make_busy_run(service.redis)
    rollouts = (make_rollout(rid="one", text="so 3 + 4 = 7\n", stage=Stage.PILOT),)
    visit = await stores.visits.launch(await stores.claim("sum-0"), Stage.PILOT, 1)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=rollouts), held=rollouts)
    trace = Trace(attempts=(Attempt.rewarded(rollouts[0], "http://one"),), rollouts=rollouts)
    event = make_event(reason="too_easy")
    await stores.visits.settle(
        visit, Outcome.SKIPPED, row=make_row(), state=PromptState.READY, event=event, trace=trace
    )
    said = await pilotcommit("prompt", "show", "busy", "sum-0", "--completions")
    assert said.code == 0, said.err
    assert "skip (too easy) at version 1" in said.out
    assert "right, reward 1, 2 tokens, version 1, stop" in said.out
    assert "so 3 + 4 = 7↵" in said.out
    await service.redis.delete(stores.keys.completions)
    said = await pilotcommit("prompt", "show", "busy", "sum-0", "--completions")
    assert "The texts of its completions are not kept" in said.out
    assert "so 3 + 4" not in said.out
    said = await pilotcommit("prompt", "show", "busy", "sum-2", "--completions")
    assert said.code == 0
    shown = await pilotcommit("prompt", "show", "busy", "sum-0", "--completions", "--chars", "5", "--json")
    assert json.loads(shown.out)["num_visits"] == 1
