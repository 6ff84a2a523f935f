"""Evaluations: a stage, a line and a cap of their own."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from scheduler.core.budget import Budget
from scheduler.core.errors import BudgetExhausted, NotFound
from scheduler.core.evaluation import EvaluationMeasure, EvaluationState
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from scheduler.state.evaluations import (
    EvaluationLanding,
    EvaluationRecord,
    Measured,
    evaluation,
    evaluations,
)
from tests.scheduler.state.stores import Stores, snapshot


def make_evaluation(evaluation_id: str = "eval", *, created_at: float = 1.0) -> EvaluationRecord:
    """A request that waits."""
    return EvaluationRecord(
        evaluation_id=evaluation_id, pool="held-out", num_rollouts=4, num_prompts=2, created_at=created_at
    )


def make_landing(*, judged: int = 0, failed: int = 0, lost: int = 0, tokens: int = 0) -> EvaluationLanding:
    """What came back."""
    return EvaluationLanding(judged=judged, failed=failed, lost=lost, tokens=tokens, prompt_tokens=7)


async def test_an_evaluation_is_read_as_it_was_written(stores: Stores) -> None:
    record = replace(
        make_evaluation(),
        state=EvaluationState.FAILED,
        reason="the cap",
        version=3,
        step=2,
        purpose="before",
        measure=EvaluationMeasure.LIKELIHOOD,
        target="{answer}!",
        results={"p": Measured(judged=1, probability=0.25), "q": Measured(failed=1, reason="too long")},
    )
    await stores.evaluations.put(record)
    assert await evaluation(stores.redis, stores.keys, "eval") == record


async def test_evaluations_are_listed_oldest_first(stores: Stores) -> None:
    for name, created_at in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        await stores.evaluations.put(make_evaluation(name, created_at=created_at))
    assert [record.evaluation_id for record in await evaluations(stores.redis, stores.keys)] == ["a", "b", "c"]


async def test_an_evaluation_that_does_not_exist_is_named(stores: Stores) -> None:
    with pytest.raises(NotFound, match="run run has no evaluation eval"):
        await evaluation(stores.redis, stores.keys, "eval")


async def test_what_several_tries_said_of_a_prompt_adds_up() -> None:
    first, second = Measured(correct=1, judged=2, failed=1, reason="no reward"), Measured(correct=1, judged=1)
    assert first + second == Measured(correct=2, judged=3, failed=1, reason="no reward")
    assert Measured() + Measured(judged=1, probability=0.5) + Measured() == Measured(judged=1, probability=0.5)
    assert first + Measured(failed=1, reason="refused") == replace(first, failed=2, reason="refused")


async def test_an_accuracy_is_the_share_of_right_answers_or_the_mean_probability_of_the_reference_answer() -> None:
    rollouts = replace(
        make_evaluation(), results={"p": Measured(correct=3, judged=3), "q": Measured(correct=0, judged=1, failed=2)}
    )
    assert rollouts.accuracy == 3 / 4
    likelihood = replace(
        make_evaluation(),
        measure=EvaluationMeasure.LIKELIHOOD,
        results={
            "p": Measured(judged=1, probability=0.5),
            "q": Measured(judged=1, probability=0.0),
            "r": Measured(failed=1, reason="too long"),
        },
    )
    assert likelihood.accuracy == 1 / 4
    for measure in EvaluationMeasure:
        assert replace(make_evaluation(), measure=measure).accuracy is None


async def test_an_evaluation_balances_after_every_step(stores: Stores) -> None:
    await stores.evaluations.launch(4)
    assert (await stores.audit()).stages[Stage.EVAL].attempts == 4
    measured = Measured(correct=1, judged=2, failed=1)
    record = await stores.evaluations.land(
        make_evaluation(), "p", measured, make_landing(judged=2, failed=1, lost=1, tokens=15)
    )
    line = (await stores.audit()).stages[Stage.EVAL]
    assert [line.outcomes[what] for what in (Outcome.EVALUATED, Outcome.FAILED, Outcome.LOST)] == [2, 1, 1]
    assert (line.tokens, line.prompt_tokens) == (15, 7)
    assert record.results == {"p": measured}
    assert await evaluation(stores.redis, stores.keys, "eval") == record


async def test_evaluating_spends_nothing_of_the_rollout_and_token_budget(stores: Stores) -> None:
    await stores.evaluations.launch(4)
    await stores.evaluations.land(
        make_evaluation(), "p", Measured(correct=0, judged=4), make_landing(judged=4, tokens=40)
    )
    ledger = await stores.audit()
    assert (ledger.spent_rollouts, ledger.spent_tokens) == (0, 0)
    assert not await stores.redis.exists(stores.keys.table)


async def test_results_of_several_prompts_add_up(stores: Stores) -> None:
    await stores.evaluations.launch(8)
    record = make_evaluation()
    for name, correct in (("p", 1), ("q", 3)):
        record = await stores.evaluations.land(
            record, name, Measured(correct=correct, judged=4), make_landing(judged=4)
        )
    assert (record.correct, record.judged) == (4, 8)
    assert await evaluation(stores.redis, stores.keys, "eval") == record


async def test_the_cap_can_be_reached_and_not_passed(redis: Redis) -> None:
    stores = await Stores.open(redis, budget=Budget(eval_rollouts=10))
    await stores.evaluations.launch(10)
    before = await snapshot(redis)
    with pytest.raises(BudgetExhausted, match="would exceed 10"):
        await stores.evaluations.launch(1)
    assert await snapshot(redis) == before


async def test_launches_at_once_never_pass_the_cap(redis: Redis) -> None:
    stores = await Stores.open(redis, budget=Budget(eval_rollouts=100))
    answers = await asyncio.gather(*(stores.evaluations.launch(3) for _ in range(60)), return_exceptions=True)
    assert answers.count(None) == 33
    assert sum(isinstance(answer, BudgetExhausted) for answer in answers) == 27
    assert (await stores.audit()).stages[Stage.EVAL].attempts == 99


async def test_landed_attempts_still_count_against_the_cap(redis: Redis) -> None:
    stores = await Stores.open(redis, budget=Budget(eval_rollouts=4))
    await stores.evaluations.launch(4)
    await stores.evaluations.land(make_evaluation(), "p", Measured(correct=0, judged=4), make_landing(judged=4))
    with pytest.raises(BudgetExhausted):
        await stores.evaluations.launch(1)


async def test_what_a_dead_incarnation_had_in_flight_is_lost_once(stores: Stores) -> None:
    await stores.evaluations.launch(5)
    successor = await stores.succeeded_by()
    for _ in range(2):
        await successor.evaluations.lose_in_flight()
        line = (await successor.audit()).stages[Stage.EVAL]
        assert (line.attempts, line.outcomes[Outcome.LOST]) == (5, 5)


async def test_what_a_cancelled_run_had_in_flight_is_cancelled(stores: Stores) -> None:
    await stores.evaluations.launch(5)
    await stores.evaluations.cancel_in_flight()
    line = (await stores.audit()).stages[Stage.EVAL]
    assert (line.attempts, line.outcomes[Outcome.CANCELLED]) == (5, 5)
