"""Measurements of the policy at one version: what they cost, what they hold back, and that they survive."""

import asyncio

import pytest

from inference.fake import FailWith
from scheduler.core.budget import Budget
from scheduler.core.errors import Conflict, InvalidInput, NotFound
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.run import EvaluationPlan
from scheduler.core.types import Stage
from scheduler.state.evaluations import EvaluationRecord, EvaluationState
from scheduler.state.versions import WeightState
from scheduler.state.wire import text
from tests.scheduler.engine.factories import make_config, make_prompts
from tests.scheduler.engine.learner import Learner
from tests.scheduler.engine.rig import Rig


async def begin(rig: Rig, learner: Learner, **config: object) -> None:
    """A run at work, and a held-out pool of ten prompts."""
    await rig.create_pool("held-out", make_prompts([70] * 10, prefix="e"))
    await rig.create_run(make_config(**config))  # type: ignore[arg-type]
    await learner.attach()


async def finished(rig: Rig, evaluation: EvaluationRecord) -> EvaluationRecord:
    """The evaluation once it is over."""

    async def is_over() -> bool:
        record = await rig.service.view_evaluation("run", evaluation.evaluation_id)
        return record.state in (EvaluationState.DONE, EvaluationState.FAILED)

    await rig.until(is_over)
    return await rig.service.view_evaluation("run", evaluation.evaluation_id)


async def evaluate(rig: Rig, *, num_rollouts: int = 2, version: int | None = None) -> EvaluationRecord:
    return await rig.service.evaluate("run", pool="held-out", num_rollouts=num_rollouts, version=version)


async def test_every_prompt_is_measured_and_none_of_it_counts_against_the_budget(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner, budget=Budget(rollouts=100))
    done = await finished(rig, await evaluate(rig, num_rollouts=3))
    assert (done.state, done.judged, len(done.results), done.version) == (EvaluationState.DONE, 30, 10, 1)
    assert 0 < done.correct < 30
    await learner.train()
    view = await rig.ended()
    line = view.ledger.stages[Stage.EVAL]
    assert (line.attempts, line.outcomes[Outcome.EVALUATED]) == (30, 30)
    assert view.ledger.spent_rollouts > 90


async def test_the_plan_of_a_run_is_measured_before_between_and_after(rig: Rig, learner: Learner) -> None:
    plan = EvaluationPlan(pool="held-out", rollouts=2, every_steps=2)
    await begin(rig, learner, evaluation=plan, max_steps=4)
    await learner.train()
    await rig.ended()
    made = {record.purpose: record for record in await rig.service.view_evaluations("run")}
    assert list(made) == ["before", "step 2", "step 4", "after"]
    assert (made["before"].version, made["after"].version, made["after"].step) == (1, 5, 4)
    assert [made[purpose].judged for purpose in made] == [20, 10, 10, 20]


async def test_an_evaluation_holds_its_version_until_it_is_through(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    batch = await learner.take()
    assert batch is not None
    rig.fakes[0].hold()
    asked = await evaluate(rig, version=1)
    await rig.until(lambda: any(rid.startswith("eval") for rid in rig.fakes[0].in_flight))
    await learner.apply(batch)
    for _ in range(50):
        await asyncio.sleep(0.001)
        assert rig.fakes[0].weight_version == "run/1"
    rig.fakes[0].release()
    assert (await finished(rig, asked)).version == 1
    await rig.until(lambda: rig.fakes[0].weight_version == "run/2")


@pytest.mark.parametrize(("version", "match"), [(1, "version 1 is gone"), (9, "version 9 is not published yet")])
async def test_a_version_that_is_not_to_be_had_is_refused(rig: Rig, learner: Learner, version: int, match: str) -> None:
    await begin(rig, learner)
    await learner.train(steps=1)

    async def has_moved_on() -> bool:
        return (await rig.service.view_weights("run"))[-1].state is WeightState.SUPERSEDED

    await rig.until(has_moved_on)
    with pytest.raises(Conflict, match=match):
        await evaluate(rig, version=version)


async def test_a_pool_that_is_empty_or_missing_is_refused(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    await rig.create_pool("empty", [])
    with pytest.raises(InvalidInput, match="no prompts"):
        await rig.service.evaluate("run", pool="empty", num_rollouts=1, version=None)
    with pytest.raises(NotFound):
        await rig.service.evaluate("run", pool="missing", num_rollouts=1, version=None)
    with pytest.raises(InvalidInput, match="no prompts"):
        await rig.create_run(make_config(evaluation=EvaluationPlan(pool="empty")), "another")


async def test_the_cap_ends_an_evaluation_and_leaves_nothing_in_flight(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner, budget=Budget(rollouts=60, eval_rollouts=7))
    done = await finished(rig, await evaluate(rig, num_rollouts=2))
    assert done.state is EvaluationState.FAILED
    assert "evaluation cap is used up" in done.reason
    assert done.judged == 6, "what was launched within the cap is measured and kept"
    line = (await rig.view()).ledger.stages[Stage.EVAL]
    assert (line.attempts, line.open[OpenState.IN_FLIGHT]) == (6, 0)
    await learner.train()
    await rig.ended()


async def test_an_evaluation_goes_on_after_its_scheduler_died_at_the_version_it_began_with(
    rig: Rig, learner: Learner
) -> None:
    await begin(rig, learner, max_steps=4)
    batch = await learner.take()
    assert batch is not None
    rig.fakes[0].hold()
    asked = await evaluate(rig, num_rollouts=2)
    await rig.until(lambda: any(rid.startswith("eval") for rid in rig.fakes[0].in_flight))
    await learner.apply(batch)
    await rig.crash()
    lost = (await rig.stores(make_config()).runs.ledger("run")).stages[Stage.EVAL].open[OpenState.IN_FLIGHT]
    await rig.take_up("run")
    rig.fakes[0].release()
    done = await finished(rig, asked)
    assert (done.state, done.version, done.judged) == (EvaluationState.DONE, 1, 20)
    await learner.train()
    view = await rig.ended()
    assert view.ledger.stages[Stage.EVAL].outcomes[Outcome.LOST] == lost > 0


async def test_lost_attempts_of_an_evaluation_are_made_again(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    rig.fakes[0].hold()
    rig.fakes[0].faults.order("/generate", FailWith(status=500), count=4)
    asked = await evaluate(rig, num_rollouts=2)
    rig.fakes[0].release()
    done = await finished(rig, asked)
    assert (done.state, done.judged) == (EvaluationState.DONE, 20)


async def test_a_cancelled_run_cancels_its_evaluation(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    rig.fakes[0].hold()
    asked, waiting = await evaluate(rig), await evaluate(rig)
    await rig.until(lambda: any(rid.startswith("eval") for rid in rig.fakes[0].in_flight))
    await rig.service.cancel("run")
    view = await rig.ended()
    assert view.record.state is RunState.CANCELLED
    line = view.ledger.stages[Stage.EVAL]
    assert line.outcomes[Outcome.CANCELLED] == line.attempts > 0
    for record in (await finished(rig, asked), await finished(rig, waiting)):
        assert (record.state, record.reason) == (EvaluationState.FAILED, "cancelled by an operator")


async def test_an_evaluation_never_feeds_the_table(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    await finished(rig, await evaluate(rig))
    table = await rig.redis.hkeys(rig.stores(make_config()).keys.table)
    assert table
    assert all(text(name).startswith("q") for name in table)
