"""All processes, a tiny model, a real SGLang server: from a pool over REST to a policy that is better."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scheduler.cli.answers import Evaluation, Weights, read
from scheduler.client import Client
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from tests.e2e.books import Books, learner_book
from tests.e2e.conftest import StartService
from tests.e2e.local_service import HELD_OUT, NUM_HELD_OUT

pytestmark = [pytest.mark.e2e, pytest.mark.sglang, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

STEPS, GROUPS, ROLLOUTS = 8, 4, 32


async def test_a_run_goes_from_its_pool_to_a_better_policy_and_its_books_close(start_service: StartService) -> None:
    # A tiny model learns its task in a few steps, and some prompts are left to learn from.
    async with start_service(learning_rate="6e-3") as service:
        run_id = await service.submit(
            max_steps=STEPS,
            batch_size=GROUPS,
            budget={"rollouts": 4000},
            evaluation={"pool": HELD_OUT, "rollouts": ROLLOUTS},
        )
        run = await service.ended(run_id)
        assert run.state == "finished", run
        books = await service.ask(lambda client: Books.read(client, run_id))
        await service.ask(lambda client: check_versions(client, run_id))
        await service.ask(lambda client: check_evaluations(client, run_id, books))
        await service.ask(lambda client: check_metrics(client, books))
    books.check_closed()
    books.check_groups()
    assert {step: len(groups) for step, groups in books.trained().items()} == dict.fromkeys(range(1, STEPS + 1), GROUPS)
    assert books.trained() == learner_book(service.run_folder(run_id))
    for stage in (Stage.PILOT, Stage.COMMIT):
        assert books.stage(stage).outcomes[Outcome.TRAINED] == 4 * GROUPS * STEPS


def check_versions(client: Client, run_id: str) -> None:
    """One version for the initial weights and one per step, each with weights of its own, all pushed but replaced."""
    versions = [read(weights, Weights) for weights in reversed(client.weights(run_id))]
    assert [weights.version for weights in versions] == list(range(1, STEPS + 2))
    assert [weights.step for weights in versions] == list(range(STEPS + 1))
    assert len({weights.path for weights in versions}) == STEPS + 1
    assert versions[-1].state == "live"


def check_evaluations(client: Client, run_id: str, books: Books) -> None:
    """Measured before the first step and after the last, on a line of the ledger of its own; and much better."""
    evaluations = {read(answer, Evaluation).purpose: read(answer, Evaluation) for answer in client.evaluations(run_id)}
    before, after = evaluations["before"], evaluations["after"]
    assert (before.version, after.version) == (1, STEPS + 1)
    assert before.judged == after.judged == NUM_HELD_OUT * ROLLOUTS
    assert books.stage(Stage.EVAL).attempts == books.ended(Outcome.EVALUATED) == 2 * NUM_HELD_OUT * ROLLOUTS
    # From a coin's toss to .78 at least in every run looked at; one tenth is 2.3 standard errors of no gain at all.
    assert after.correct - before.correct > before.judged // 10, (before.correct, after.correct)


def check_metrics(client: Client, books: Books) -> None:
    """The metrics page says what the ledger says."""
    samples = _samples(httpx.get(f"{client.url}/metrics", trust_env=False, timeout=30.0).text)
    for stage, line in books.ledger.stages.items():
        assert samples["attempts_total", stage] == line.attempts
        for state, count in line.open.items():
            assert samples["open_attempts", stage, state] == count
        for outcome, count in line.outcomes.items():
            assert samples["ended_attempts_total", outcome, stage] == count
    assert samples[("ledger_balanced",)] == 1
    assert samples["budget_rollouts", "spent"] == books.run.spend.rollouts
    assert samples["weight_version", "live"] == STEPS + 1
    assert samples["steps", "saved"] == STEPS
    assert samples[("trained_groups_total",)] == len(books.groups("trained"))


def _samples(page: str) -> dict[tuple[str, ...], float]:
    """Each number by its name without prefix and its labels' values but the run's, in order of the labels' names."""
    return {
        (
            sample.name.removeprefix("pilotcommit_"),
            *(value for name, value in sorted(sample.labels.items()) if name != "run"),
        ): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
