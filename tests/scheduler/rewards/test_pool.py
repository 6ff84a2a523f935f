"""The pool: one answer per job, in order, whatever a reward does."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from scheduler.core.errors import InvalidInput, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards.pool import Answer, RewardPool
from scheduler.rewards.spec import RewardJob, RewardSpec, parse_spec

SAMPLES = "tests.scheduler.rewards.sample_rewards"
ONE = Judgement(reward=1.0, correct=True)
ZERO = Judgement(reward=0.0, correct=False)


@pytest.fixture
async def pool() -> AsyncIterator[RewardPool]:
    started = RewardPool(2)
    await started.start()
    yield started
    await started.close()


def _jobs(*texts: str, metadata: dict[str, object] | None = None) -> list[RewardJob]:
    return [RewardJob(text=text, answer="13", metadata=metadata or {}) for text in texts]


def _obedient(timeout_s: float = 5.0) -> RewardSpec:
    return parse_spec({"kind": "python", "function": f"{SAMPLES}:obedient", "timeout_s": timeout_s})


def _brief(answers: list[Answer]) -> list[object]:
    return [str(answer) if isinstance(answer, RewardFailed) else answer for answer in answers]


async def test_answers_come_in_the_order_of_the_jobs(pool: RewardPool) -> None:
    texts = ["13", "14", "13"] * 20
    expected = [ONE if text == "13" else ZERO for text in texts]
    assert await pool.judge(parse_spec("exact"), _jobs(*texts)) == expected
    assert await pool.judge(parse_spec(f"python:{SAMPLES}:same"), _jobs(*texts)) == expected


async def test_no_jobs_need_no_answers(pool: RewardPool) -> None:
    assert await pool.judge(parse_spec("exact"), []) == []


async def test_metadata_reaches_the_users_function(pool: RewardPool) -> None:
    answers = await pool.judge(parse_spec(f"python:{SAMPLES}:shaped"), _jobs("13", metadata={"bonus": 0.5}))
    assert answers == [Judgement(reward=1.5, correct=True)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise", "KeyError: 'no such unit'"),
        ("exit", "SystemExit: 3"),
        ("nan", "not finite"),
        ("words", "not a number"),
        ("none", "answered None"),
        ("triple", "3 values"),
        ("die", "its worker died (SIGKILL)"),
        ("hang", "took longer than 1 s and was killed"),
    ],
)
async def test_only_the_offending_job_fails(pool: RewardPool, text: str, reason: str) -> None:
    answers = await pool.judge(_obedient(timeout_s=1), _jobs("fine", "fine", text, "fine", "fine"))
    assert [isinstance(answer, RewardFailed) for answer in answers] == [False, False, True, False, False]
    assert reason in str(answers[2])
    assert answers[3] == ONE


@pytest.mark.parametrize("text", ["forge answers", "forge nonsense"])
async def test_a_reward_that_writes_to_our_pipe_fails_alone(pool: RewardPool, text: str) -> None:
    (forged,) = await pool.judge(_obedient(), _jobs(text))
    assert isinstance(forged, RewardFailed)
    assert "wrote to our pipe" in str(forged)
    assert await pool.judge(_obedient(), _jobs("fine", "fine")) == [ONE, ONE]


async def test_a_forged_reward_is_a_finite_number_at_least(pool: RewardPool) -> None:
    (forged,) = await pool.judge(_obedient(timeout_s=1), _jobs("forge infinity"))
    assert isinstance(forged, RewardFailed)


async def test_every_job_of_a_call_that_keeps_killing_workers_is_failed(pool: RewardPool) -> None:
    answers = await pool.judge(_obedient(), _jobs("die", "fine", "die"))
    assert _brief(answers) == ["its worker died (SIGKILL)", ONE, "its worker died (SIGKILL)"]
    assert await pool.judge(parse_spec("exact"), _jobs("13")) == [ONE]


async def test_a_death_from_outside_is_not_held_against_the_job(pool: RewardPool, tmp_path: Path) -> None:
    metadata: dict[str, object] = {"marker": str(tmp_path / "marker")}
    assert await pool.judge(_obedient(), _jobs("die once", metadata=metadata)) == [ONE]


async def test_a_worker_killed_while_idle_is_replaced_unnoticed(pool: RewardPool) -> None:
    for answer in await pool.judge(_obedient(), _jobs("pid", "pid")):
        assert isinstance(answer, Judgement)
        os.kill(int(answer.reward), signal.SIGKILL)
    assert await pool.judge(parse_spec("exact"), _jobs("13", "14")) == [ONE, ZERO]


async def test_a_catastrophic_pattern_is_killed_and_the_rest_judged(pool: RewardPool) -> None:
    spec = parse_spec({"kind": "regex", "timeout_s": 1})
    jobs = [RewardJob(text=f"{'a' * 64}b", answer="(a+)+$"), RewardJob(text="cat", answer="c.t")]
    assert _brief(await pool.judge(spec, jobs)) == ["took longer than 1 s and was killed", ONE]


async def test_the_event_loop_runs_on_while_a_reward_hangs(pool: RewardPool) -> None:
    hanging = asyncio.create_task(pool.judge(_obedient(timeout_s=600), _jobs("hang")))
    for _ in range(20):
        assert await pool.judge(parse_spec("exact"), _jobs("13")) == [ONE]
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_a_cancelled_call_gives_its_worker_back_to_the_others() -> None:
    pool = RewardPool(1)
    await pool.start()
    hanging = asyncio.create_task(pool.judge(_obedient(timeout_s=600), _jobs("hang")))
    waiting = asyncio.create_task(pool.judge(parse_spec("exact"), _jobs("13")))
    await asyncio.sleep(0)
    hanging.cancel()
    assert await waiting == [ONE]
    await pool.close()


async def test_many_calls_at_once_all_get_their_own_answers(pool: RewardPool) -> None:
    texts = [str(index) for index in range(60)]
    calls = (pool.judge(parse_spec("numeric"), [RewardJob(text=text, answer=text)] * 3) for text in texts)
    assert await asyncio.gather(*calls) == [[ONE] * 3] * 60


async def test_closing_answers_what_is_still_being_judged() -> None:
    pool = RewardPool(1)
    await pool.start()
    hanging = asyncio.create_task(pool.judge(_obedient(timeout_s=600), _jobs("hang", "fine")))
    waiting = asyncio.create_task(pool.judge(parse_spec("exact"), _jobs("13")))
    await asyncio.sleep(0)
    await pool.close()
    assert _brief(await hanging) == ["the reward pool is closed"] * 2
    assert _brief(await waiting) == ["the reward pool is closed"]


async def test_metadata_that_cannot_be_sent_fails_the_jobs(pool: RewardPool) -> None:
    (answer,) = await pool.judge(_obedient(), _jobs("fine", metadata={"f": object()}))
    assert isinstance(answer, RewardFailed)
    assert "JSON" in str(answer)


@pytest.mark.parametrize("reward", ["exact", "regex:(a)", f"python:{SAMPLES}:length"])
async def test_a_reward_that_can_be_loaded_passes_its_check(pool: RewardPool, reward: str) -> None:
    await pool.check(parse_spec(reward))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:judge", "No module named 'no_such_module'"),
        (f"{SAMPLES}:absent", "has no 'absent'"),
        (f"{SAMPLES}:asynchronous", "is async"),
        ("tests.scheduler.rewards.sample_killing_import:judge", "its worker died"),
        ("tests.scheduler.rewards.sample_hanging_import:judge", "took longer than 2 s"),
    ],
)
async def test_a_reward_that_cannot_be_loaded_is_refused_and_harms_nobody(target: str, reason: str) -> None:
    pool = RewardPool(1, load_timeout_s=2.0)
    await pool.start()
    with pytest.raises(InvalidInput, match=reason):
        await pool.check(parse_spec(f"python:{target}"))
    answers = await pool.judge(parse_spec(f"python:{target}"), _jobs("a", "b"))
    assert all(isinstance(answer, RewardFailed) and reason in str(answer) for answer in answers)
    assert await pool.judge(parse_spec("exact"), _jobs("13")) == [ONE]
    await pool.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_kills_and_answers_under_both_event_loops(run: Callable[..., list[Answer]]) -> None:
    async def session() -> list[Answer]:
        pool = RewardPool(1)
        await pool.start()
        answers = await pool.judge(_obedient(timeout_s=1), _jobs("hang", "die", "fine"))
        await pool.close()
        return answers

    failed_slow, failed_dead, fine = run(session())
    assert isinstance(failed_slow, RewardFailed)
    assert isinstance(failed_dead, RewardFailed)
    assert fine == ONE


def test_a_pool_has_at_least_one_worker() -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        RewardPool(0)
