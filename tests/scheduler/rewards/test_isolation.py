"""What a reward cannot do: everything here runs in real workers, against the kernel of this machine."""

import os
import pwd
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scheduler.core.errors import PilotCommitError, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards.isolation import Confinement, Isolation, IsolationMode, Measure
from scheduler.rewards.pool import Answer, RewardPool
from scheduler.rewards.process import WorkerProcess
from scheduler.rewards.spec import RewardJob, RewardSpec, parse_spec
from tests.scheduler.rewards.sample_escapes import ESCAPES

SAMPLES = "tests.scheduler.rewards.sample_escapes"
ONE = Judgement(reward=1.0, correct=True)
REQUIRED = Confinement(mode=IsolationMode.REQUIRED)


@pytest.fixture
async def pool() -> AsyncIterator[RewardPool]:
    started = RewardPool(1, confinement=REQUIRED)
    await started.start()
    yield started
    await started.close()


def _spec(function: str) -> RewardSpec:
    return parse_spec({"kind": "python", "function": f"{SAMPLES}:{function}", "timeout_s": 20})


async def _judge(pool: RewardPool, function: str, *texts: str, **metadata: object) -> list[Answer]:
    return await pool.judge(_spec(function), [RewardJob(text=text, answer="", metadata=metadata) for text in texts])


REASONS = {
    "open_a_socket": "Permission denied",
    "open_a_unix_socket": "Permission denied",
    "fork": "Permission denied",
    "run_a_program": "Permission denied",
    "allocate": "MemoryError",
    "write_a_big_file": "File too large",
    "open_many_files": "Too many open files",
    "raise_the_limits": "not allowed to raise maximum limit",
    "kill_the_scheduler": "Permission denied",
    "read_the_environment": "KeyError",
    "leave_the_group": "Permission denied",
    "new_namespace": "Permission denied",
}
"""What each attempt ends with where limits and the filter are in force."""
NEEDS_NAMESPACE = {"read_the_schedulers_environment", "read_the_schedulers_memory"}


def test_every_attempt_has_its_reason() -> None:
    assert ESCAPES.keys() == REASONS.keys() | NEEDS_NAMESPACE


async def test_whatever_a_reward_attempts_fails_and_the_others_are_judged(
    pool: RewardPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTCOMMIT_API_KEY", "canary")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    texts = ["fine", *REASONS, "fine"]
    answers = await _judge(pool, "attempt", *texts, port=port, folder=str(tmp_path))
    listener.close()
    assert (answers[0], answers[-1]) == (ONE, ONE)
    for (name, reason), answer in zip(REASONS.items(), answers[1:-1], strict=True):
        assert isinstance(answer, RewardFailed), name
        assert reason in str(answer), name
    assert (tmp_path / "big").stat().st_size <= REQUIRED.file_bytes


async def test_a_reward_sees_nothing_of_the_scheduler_through_proc(pool: RewardPool) -> None:
    assert pool.isolation is not None
    if Measure.NAMESPACES not in pool.isolation.in_force:
        pytest.skip(f"no namespaces here: {pool.isolation.missing}")
    for answer in await _judge(pool, "attempt", *sorted(NEEDS_NAMESPACE)):
        assert isinstance(answer, RewardFailed)
        assert "Permission denied" in str(answer)


async def test_a_reward_that_is_left_alone_can_do_all_of_it(tmp_path: Path) -> None:
    """The attempts are real: without isolation they succeed, all that harm nobody."""
    pool = RewardPool(1, confinement=Confinement(mode=IsolationMode.OFF))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    harmless = ["open_a_socket", "open_a_unix_socket", "fork", "run_a_program", "write_a_big_file"]
    assert await _judge(pool, "attempt", *harmless, port=port, folder=str(tmp_path)) == [ONE] * len(harmless)
    listener.close()
    await pool.close()


async def test_the_environment_is_stripped_even_without_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTCOMMIT_API_KEY", "canary")
    pool = RewardPool(1, confinement=Confinement(mode=IsolationMode.OFF))
    (answer,) = await _judge(pool, "attempt", "read_the_environment")
    await pool.close()
    assert isinstance(answer, RewardFailed)


async def test_an_operator_can_name_variables_that_rewards_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTCOMMIT_API_KEY", "not a secret here")
    pool = RewardPool(1, confinement=Confinement(environment=("PILOTCOMMIT_API_KEY",)))
    assert await _judge(pool, "attempt", "read_the_environment") == [ONE]
    await pool.close()


async def test_a_reward_may_start_threads(pool: RewardPool) -> None:
    assert await _judge(pool, "threads", "") == [ONE]


SOCKET = "import socket\ntry: socket.socket()\nexcept PermissionError: print(0.25)"
ESCAPE = "import os\ntry: os.setsid()\nexcept PermissionError: print(0.25)"


async def test_a_reward_that_may_run_programs_runs_them_shut_in() -> None:
    pool = RewardPool(1, confinement=Confinement(mode=IsolationMode.REQUIRED, may_start_processes=True))
    answers = await _judge(pool, "program", "print(0.5)", SOCKET, ESCAPE)
    await pool.close()
    assert [answer.reward for answer in answers if isinstance(answer, Judgement)] == [0.5, 0.25, 0.25]


async def test_the_programs_of_a_reward_are_killed_with_it() -> None:
    pool = RewardPool(1, confinement=Confinement(may_start_processes=True))
    spec = parse_spec({"kind": "python", "function": f"{SAMPLES}:program", "timeout_s": 1})
    program = "import sys, threading; sys.stderr.write('at it'); threading.Event().wait()"
    (answer,) = await pool.judge(spec, [RewardJob(text=program, answer="")])
    assert "was killed" in str(answer)
    assert await _judge(pool, "program", "print(1)") == [ONE]
    await pool.close()


async def test_a_worker_may_use_only_so_much_cpu_time_for_a_task(pool: RewardPool) -> None:
    (answer,) = await _judge(pool, "burn", "")
    assert isinstance(answer, Judgement)
    assert 80 <= answer.reward <= 85 * (os.cpu_count() or 1)


async def test_what_is_in_force_is_known_and_told_once() -> None:
    pool = RewardPool(2, confinement=REQUIRED)
    at_first = pool.isolation
    assert at_first is None
    with capture_logs() as lines:
        await pool.start()
        await pool.close()
    assert pool.isolation is not None
    assert {Measure.LIMITS, Measure.SYSTEM_CALLS} <= set(pool.isolation.in_force)
    told = [line for line in lines if line["event"] == "reward_isolation"]
    assert [line["in_force"] for line in told] == [pool.isolation.in_force]


async def test_isolation_that_is_off_is_told_as_missing() -> None:
    pool = RewardPool(1, confinement=Confinement(mode=IsolationMode.OFF))
    with capture_logs() as lines:
        await pool.start()
    await pool.close()
    assert pool.isolation is not None
    assert pool.isolation.in_force == ()
    assert [line["log_level"] for line in lines if line["event"] == "reward_isolation"] == ["warning"]


async def test_no_worker_starts_as_a_user_that_is_not_there() -> None:
    pool = RewardPool(1, confinement=Confinement(user="nobody-of-this-name"))
    with pytest.raises(PilotCommitError, match="there is no user 'nobody-of-this-name'"):
        await pool.start()


def _users(pid: int) -> set[str]:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return set(line.split()[1:])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of another user")
async def test_rewards_run_as_another_user_where_one_is_named() -> None:
    worker = await WorkerProcess.start(Confinement(user="nobody"))
    users = _users(worker.pid)
    await worker.kill()
    assert users == {str(pwd.getpwnam("nobody").pw_uid)}
    assert Measure.USER in worker.isolation.in_force


@pytest.mark.skipif(os.geteuid() == 0, reason="root can")
async def test_another_user_cannot_be_had_without_being_root() -> None:
    with pytest.raises(PilotCommitError, match="only root"):
        await RewardPool(1, confinement=Confinement(user="nobody")).start()


def test_only_what_is_indispensable_is_lacking() -> None:
    assert Isolation(missing={Measure.NAMESPACES: "not permitted"}).lacking() == ""
    assert Isolation(missing={Measure.SYSTEM_CALLS: "unknown machine"}).lacking() == "system_calls: unknown machine"
