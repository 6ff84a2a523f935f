"""The worker process: reads tasks from its pipe, judges, answers; one job at a time.

Owns: its own process and nothing else. Never imports torch or fastapi (start-up stays light), never enforces
time (its parent kills it). Invariant: only replies travel on the reply pipe; whatever a reward prints goes to
stderr, and a reward that reads stdin finds it empty.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import msgspec

from scheduler.core.errors import InvalidInput, PilotCommitError
from scheduler.core.types import Judgement
from scheduler.rewards import functions, gym_scorer, mathematics, user_function
from scheduler.rewards.confinement import confine, limit_cpu
from scheduler.rewards.isolation import Confinement, Measure
from scheduler.rewards.spec import RewardJob, RewardKind, RewardSpec
from scheduler.rewards.wire import (
    Failed,
    Judged,
    Loaded,
    Ready,
    Refused,
    Reply,
    Task,
    body_length,
    decode_task,
    encode,
)

MAX_REASON_CHARS = 500
_PR_SET_PDEATHSIG = 1

Judge = Callable[[RewardJob], Judgement]


def main(parent_pid: int, confinement: str) -> None:
    """Shut this process in as `confinement` says, in JSON; then serve tasks until the parent closes the pipe or dies.

    Consumes tasks from fd 0; produces replies on fd 1; waits for the next task; unblocked by a task or end of
    file.
    """
    die_with(parent_pid)
    # Ctrl-C reaches the whole terminal; the scheduler decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipes = _take_pipes()
    try:
        isolation = confine(msgspec.json.decode(confinement, type=Confinement))
    except PilotCommitError as exc:
        pipes.replies.write(encode(Refused(_reason(exc))))
        return
    # Becoming another user undoes it.
    die_with(parent_pid)
    pipes.replies.write(encode(Ready(isolation)))
    while (task := _read_task(pipes.tasks)) is not None:
        if Measure.LIMITS in isolation.in_force:
            limit_cpu(len(task.jobs), task.spec.timeout_s)
        for reply in answer(task):
            pipes.replies.write(encode(reply))


def die_with(parent_pid: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies (Linux); elsewhere the end of file must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(0)  # It died before the request above.


def answer(task: Task) -> Iterator[Reply]:
    """The replies to one task, each yielded as soon as it is known."""
    try:
        judge = load_judge(task.spec)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the user's module may raise anything
        yield Refused(_reason(exc))
        return
    yield Loaded()
    for job in task.jobs:
        yield _judge_one(judge, job)


def load_judge(spec: RewardSpec) -> Judge:
    """The function that judges one job by `spec`. Raises whatever importing a user's module raises."""
    match spec.kind:
        case RewardKind.EXACT:
            return lambda job: functions.exact(job.text, job.answer)
        case RewardKind.NUMERIC:
            numeric = partial(functions.numeric, tolerance=spec.tolerance)
            return lambda job: numeric(job.text, job.answer)
        case RewardKind.REGEX:
            regex = partial(functions.regex, pattern=spec.target)
            return lambda job: regex(job.text, job.answer)
        case RewardKind.MATH:
            equal = mathematics.load()
            return lambda job: equal(job.text, job.answer)
        case RewardKind.REASONING_GYM:
            score = gym_scorer.load()
            return lambda job: score(job.text, job.metadata)
        case RewardKind.HTTP:
            raise InvalidInput("a reward server is not asked by a worker: it has no network", field="reward")
        case RewardKind.PYTHON:
            reward = user_function.load(spec.target or "")
            return lambda job: user_function.read_answer(reward(job.text, job.answer, job.metadata))


def _judge_one(judge: Judge, job: RewardJob) -> Reply:
    try:
        judgement = judge(job)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the user's function may raise anything
        return Failed(_reason(exc))
    return Judged(reward=judgement.reward, correct=judgement.correct)


def _reason(exc: BaseException) -> str:
    """The exception as its last traceback line; it never raises, whatever the exception's own str does."""
    if isinstance(exc, PilotCommitError):
        return str(exc)[:MAX_REASON_CHARS]
    return "".join(traceback.format_exception_only(exc)).strip()[:MAX_REASON_CHARS]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pipes:
    tasks: BinaryIO
    replies: BinaryIO


def _take_pipes() -> _Pipes:
    """Move both pipes out of the reach of rewards: fd 0 becomes empty, fd 1 becomes stderr."""
    tasks, replies = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return _Pipes(tasks=os.fdopen(tasks, "rb"), replies=os.fdopen(replies, "wb", buffering=0))


def _read_task(tasks: BinaryIO) -> Task | None:
    header = tasks.read(4)
    if len(header) < 4:
        return None
    return decode_task(tasks.read(body_length(header)))
