"""Measurements of the policy at one version: what they cost, what they hold back, and that they survive."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from inference.fake import FailWith
from scheduler.core.budget import Budget
from scheduler.core.errors import Conflict, InvalidInput, NotFound
from scheduler.core.evaluation import EvaluationMeasure, EvaluationState
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.lifecycle import RunState
from scheduler.core.run import EvaluationPlan
from scheduler.core.types import Prompt, Stage
from scheduler.state.evaluations import EvaluationRecord
from scheduler.state.versions import WeightState
from scheduler.state.wire import text
from tests.scheduler.engine.factories import CONTEXT_LENGTH, make_config, make_prompts
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
        record = await rig.service.views.evaluation("run", evaluation.evaluation_id)
        return record.state in (EvaluationState.DONE, EvaluationState.FAILED)

    await rig.until(is_over)
    return await rig.service.views.evaluation("run", evaluation.evaluation_id)


async def evaluate(rig: Rig, *, num_rollouts: int = 2, version: int | None = None) -> EvaluationRecord:
    return await rig.service.orders.evaluate("run", pool="held-out", num_rollouts=num_rollouts, version=version)


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
    made = {record.purpose: record for record in await rig.service.views.evaluations("run")}
    assert list(made) == ["before", "step 2", "step 4", "after"]
    assert (made["before"].version, made["after"].version, made["after"].step) == (1, 5, 4)
    assert [made[purpose].judged for purpose in made] == [20, 10, 10, 20]


async def test_one_prompt_of_each_beginning_is_measured_before_the_others(rig: Rig, learner: Learner) -> None:
    few_shot = [
        replace(prompt, input_ids=(*range(10, 50), 60 + place))
        for place, prompt in enumerate(make_prompts([70] * 6, prefix="f"))
    ]
    await rig.create_pool("few-shot", few_shot)
    rig.fakes[0].hold()
    # Few groups: pilots that are held would take every place on the server.
    evaluation = EvaluationPlan(pool="few-shot", rollouts=1)
    await rig.create_run(make_config(evaluation=evaluation, batch_size=1, max_staleness=0))
    await learner.attach()

    def asked() -> int:
        return sum(job.rid.startswith("eval-") for job in rig.fakes[0].decoder.waiting)

    await rig.until(lambda: asked() == 1)
    await rig.fakes[0].step(2)
    await rig.until(lambda: asked() == 5)


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
        return (await rig.service.views.weights("run"))[-1].state is WeightState.SUPERSEDED

    await rig.until(has_moved_on)
    with pytest.raises(Conflict, match=match):
        await evaluate(rig, version=version)


async def test_a_pool_that_is_empty_or_missing_is_refused(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    await rig.create_pool("empty", [])
    with pytest.raises(InvalidInput, match="no prompts"):
        await rig.service.orders.evaluate("run", pool="empty", num_rollouts=1, version=None)
    with pytest.raises(NotFound):
        await rig.service.orders.evaluate("run", pool="missing", num_rollouts=1, version=None)
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
    await rig.service.orders.cancel("run")
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


LIKELIHOOD = EvaluationMeasure.LIKELIHOOD


async def begin_sums(rig: Rig, learner: Learner, folder: Path, **config: object) -> list[Prompt]:
    """A run at work, and ten sums as a held-out pool with a tokenizer."""
    tokenizer = await rig.service.tokenizers.get(str(folder))
    prompts = [
        Prompt(prompt_id=f"s{n}", input_ids=tokenizer.encode(f"{n} + 1 ="), text=f"{n} + 1 =", answer=str(n + 1))
        for n in range(10)
    ]
    await rig.create_pool("sums-held-out", prompts, tokenizer=str(folder))
    await rig.create_run(make_config(**config))  # type: ignore[arg-type]
    await learner.attach()
    return prompts


async def read_likelihood(rig: Rig, pool: str = "sums-held-out") -> EvaluationRecord:
    asked = await rig.service.orders.evaluate("run", pool=pool, num_rollouts=7, version=None, measure=LIKELIHOOD)
    return await finished(rig, asked)


async def test_a_likelihood_is_the_probability_of_the_answers_tokens_at_one_attempt_a_prompt(
    rig: Rig, learner: Learner, model_folder: Path
) -> None:
    prompts = await begin_sums(rig, learner, model_folder)
    done = await read_likelihood(rig)
    encode = (await rig.service.tokenizers.get(str(model_folder))).encode
    targets = {prompt.prompt_id: encode(f" {prompt.answer}\n") for prompt in prompts}
    # What `Coin` makes of a token.
    expected = {prompt_id: math.exp(-sum(ids) / 100) for prompt_id, ids in targets.items()}
    assert {name: result.probability for name, result in done.results.items()} == pytest.approx(expected)
    assert done.accuracy == pytest.approx(sum(expected.values()) / 10)
    assert (done.state, done.num_rollouts, done.judged, done.version) == (EvaluationState.DONE, 1, 10, 1)
    line = (await rig.view()).ledger.stages[Stage.EVAL]
    assert (line.attempts, line.outcomes[Outcome.EVALUATED], line.tokens) == (10, 10, 0)
    texts = [len(prompt.input_ids) + len(targets[prompt.prompt_id]) for prompt in prompts]
    assert line.prompt_tokens == sum(texts)


async def test_the_plan_of_a_run_can_read_likelihoods(rig: Rig, learner: Learner, model_folder: Path) -> None:
    plan = EvaluationPlan(
        pool="sums-held-out", rollouts=5, every_steps=1, rollouts_between=3, measure=LIKELIHOOD, target=":{answer}"
    )
    await begin_sums(rig, learner, model_folder, evaluation=plan, max_steps=2)
    await learner.train()
    view = await rig.ended()
    made = {record.purpose: record for record in await rig.service.views.evaluations("run")}
    assert list(made) == ["before", "step 1", "step 2", "after"]
    assert [(record.judged, record.target) for record in made.values()] == [(10, ":{answer}")] * 4
    assert view.ledger.stages[Stage.EVAL].attempts == 40


async def test_a_prompt_of_token_ids_alone_is_followed_by_the_answers_own_tokens(
    rig: Rig, learner: Learner, model_folder: Path
) -> None:
    await begin_sums(rig, learner, model_folder)
    bare = Prompt(prompt_id="bare", input_ids=(90, 91, 92), answer="7")
    await rig.create_pool("bare", [bare], tokenizer=str(model_folder))
    done = await read_likelihood(rig, "bare")
    ids = (await rig.service.tokenizers.get(str(model_folder))).encode_bare(" 7\n")
    assert done.results["bare"].probability == pytest.approx(math.exp(-sum(ids) / 100))


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Prompt(prompt_id="cut", input_ids=(5, 6), text="1 + 2 =", answer="3"), "prompt cut: followed by ' 3\\n'"),
        (Prompt(prompt_id="open", input_ids=(5, 6)), "prompt open has no reference answer"),
    ],
    ids=["tokens that do not begin the text", "no answer"],
)
async def test_a_prompt_whose_answer_cannot_be_read_fails_the_evaluation_before_anything_is_sent(
    rig: Rig, learner: Learner, model_folder: Path, prompt: Prompt, reason: str
) -> None:
    await begin_sums(rig, learner, model_folder)
    await rig.create_pool("odd", [prompt], tokenizer=str(model_folder))
    done = await read_likelihood(rig, "odd")
    assert done.state is EvaluationState.FAILED
    assert reason in done.reason
    assert (await rig.view()).ledger.stages[Stage.EVAL].attempts == 0


async def test_a_pool_whose_tokenizer_is_gone_fails_the_evaluation(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    done = await read_likelihood(rig, "held-out")
    assert (done.state, "not a folder" in done.reason) == (EvaluationState.FAILED, True)


async def test_lost_likelihoods_are_read_again_and_refused_ones_fail_with_their_reason(
    rig: Rig, learner: Learner, model_folder: Path
) -> None:
    prompts = await begin_sums(rig, learner, model_folder)
    longest = Prompt(prompt_id="long", input_ids=(5,) * CONTEXT_LENGTH, answer="7")
    await rig.create_pool("with-long", [*prompts, longest], tokenizer=str(model_folder))
    rig.fakes[0].hold()
    rig.fakes[0].faults.order("/generate", FailWith(status=500), count=4)
    asked = await rig.service.orders.evaluate("run", pool="with-long", num_rollouts=1, version=None, measure=LIKELIHOOD)
    rig.fakes[0].release()
    done = await finished(rig, asked)
    assert (done.state, done.judged, done.results["long"].failed) == (EvaluationState.DONE, 10, 1)
    assert "do not fit into the context" in done.results["long"].reason
    assert done.results["long"].probability is None
    line = (await rig.view()).ledger.stages[Stage.EVAL]
    outcomes = line.outcomes
    assert (outcomes[Outcome.EVALUATED], outcomes[Outcome.FAILED]) == (10, 1)
    assert line.attempts == 11 + outcomes[Outcome.LOST]
    assert line.tokens == 0, "nothing would have been generated"


async def test_a_target_without_a_place_for_the_answer_is_refused(rig: Rig, learner: Learner) -> None:
    await begin(rig, learner)
    with pytest.raises(InvalidInput, match="no place for the reference answer"):
        await rig.service.orders.evaluate(
            "run", pool="held-out", num_rollouts=1, version=None, measure=LIKELIHOOD, target="7"
        )
