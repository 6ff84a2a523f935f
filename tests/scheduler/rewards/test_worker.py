"""The worker's answers to a task, in this process."""

import subprocess
import sys

import pytest

from scheduler.rewards.spec import RewardJob, parse_spec
from scheduler.rewards.wire import Failed, Judged, Loaded, Refused, Task
from scheduler.rewards.worker import MAX_REASON_CHARS, answer

SAMPLES = "tests.scheduler.rewards.sample_rewards"


@pytest.mark.parametrize("reward", ["exact", "numeric", "regex", r"regex:(\d+)", f"python:{SAMPLES}:same"])
def test_every_kind_judges_each_job_in_order(reward: str) -> None:
    jobs = tuple(RewardJob(text=text, answer="13") for text in ("13", "14"))
    replies = list(answer(Task(spec=parse_spec(reward), jobs=jobs)))
    assert replies == [Loaded(), Judged(1.0, True), Judged(0.0, False)]


@pytest.mark.parametrize(("text", "reason"), [("raise", "KeyError: 'no such unit'"), ("exit", "SystemExit: 3")])
def test_a_reward_that_raises_fails_its_own_job_only(text: str, reason: str) -> None:
    jobs = (RewardJob(text=text, answer=""), RewardJob(text="", answer=""))
    replies = list(answer(Task(spec=parse_spec(f"python:{SAMPLES}:obedient"), jobs=jobs)))
    assert replies == [Loaded(), Failed(reason), Judged(1.0, True)]


def test_a_reward_that_cannot_be_loaded_refuses_the_task() -> None:
    task = Task(spec=parse_spec("python:no_such_module:judge"), jobs=(RewardJob(text="", answer=""),))
    assert list(answer(task)) == [Refused("ModuleNotFoundError: No module named 'no_such_module'")]


def test_a_long_reason_is_cut() -> None:
    job = RewardJob(text="", answer="(" * 10_000)
    (_, failed) = answer(Task(spec=parse_spec("numeric"), jobs=(job,)))
    assert isinstance(failed, Failed)
    assert len(failed.reason) == MAX_REASON_CHARS


def test_a_worker_starts_without_torch_fastapi_or_asyncio() -> None:
    code = "import sys, scheduler.rewards.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "scheduler.rewards.worker" in loaded
    assert not {"torch", "fastapi", "transformers", "numpy", "asyncio"} & set(loaded)
