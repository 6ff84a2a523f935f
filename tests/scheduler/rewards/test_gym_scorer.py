"""The scorers of reasoning-gym on what a model may write."""

from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from scheduler.core.errors import InvalidInput, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards import gym_entry, gym_scorer, gym_task
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import RewardJob, parse_spec

Judge = Callable[[str, Mapping[str, object]], Judgement]
SETTINGS = {"size": "3", "seed": "5"}


@pytest.fixture(scope="module")
def judge() -> Judge:
    return gym_scorer.load()


def entries(task: str) -> list[tuple[str, dict[str, object]]]:
    """Of each entry its reference answer and the metadata of its prompt."""
    made = gym_task.make(task, SETTINGS)
    return [(str(entry["answer"]), {gym_entry.KEY: gym_entry.write(task, {}, entry)}) for entry in made]


@pytest.mark.parametrize("task", ["chain_sum", "rearc", "countdown", "prime_factorization", "word_ladder"])
def test_a_reference_answer_is_right_after_its_way_through_json(judge: Judge, task: str) -> None:
    for answer, metadata in entries(task):
        assert judge(answer, metadata) == Judgement(reward=1.0, correct=True)
        assert judge(f"I think <answer>0</answer>, no: <answer>\n{answer}\n</answer>.", metadata).correct
        assert not judge(f"<answer>{answer}</answer> no: <answer>nothing</answer>", metadata).correct


def test_partly_right_is_a_reward_and_not_correct(judge: Judge) -> None:
    answer, metadata = entries("chain_sum")[0]
    judged = judge(f"It may be {answer}", metadata)
    assert 0 < judged.reward < 1
    assert not judged.correct


def test_a_scorer_that_raises_at_a_text_calls_it_wrong(judge: Judge) -> None:
    _, metadata = entries("prime_factorization")[0]
    assert judge("seven times eleven", metadata) == Judgement(reward=0.0, correct=False)


def test_a_scorer_that_takes_no_answer_at_all_fails(judge: Judge) -> None:
    broken = gym_entry.write("prime_factorization", {}, {"question": "?", "answer": "two", "metadata": {}})
    with pytest.raises(RewardFailed, match="the scorer of prime_factorization takes no answer to this prompt"):
        judge("2 x 3", {gym_entry.KEY: broken})


@pytest.fixture
async def pool() -> AsyncIterator[RewardPool]:
    started = RewardPool(1)
    yield started
    await started.close()


async def test_they_score_shut_in_a_worker(pool: RewardPool) -> None:
    spec = parse_spec("reasoning_gym")
    await pool.check(spec)
    jobs = [RewardJob(text=answer, answer=answer, metadata=metadata) for answer, metadata in entries("chain_sum")]
    odd = RewardJob(text="9" * 1_000_000, answer="", metadata=jobs[0].metadata)
    *right, wrong, lost = await pool.judge(spec, [*jobs, odd, RewardJob(text="1", answer="1")])
    assert right == [Judgement(reward=1.0, correct=True)] * 3
    assert wrong == Judgement(reward=0.0, correct=False)
    assert "the metadata has no reasoning_gym" in str(lost)


def test_a_prompt_of_another_source_is_refused_at_upload() -> None:
    with pytest.raises(InvalidInput, match="judges prompts of reasoning-gym:TASK"):
        parse_spec("reasoning_gym").check_prompt("1", {"question": "1"})
