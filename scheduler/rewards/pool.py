"""The pool of reward workers, and the way to reward servers.

Owns: a fixed number of worker processes and who is blamed when one is lost. Never blocks the event loop and
never turns a failure into a zero; what a reward server judges it hands on. Invariant: every job of a call gets exactly
one answer, a Judgement or a RewardFailed, in order.

A call is one round trip to one worker. The job at which a worker exceeds its time limit is failed; one at
which a worker dies by itself is tried once more first, for the death may have come from outside (the kernel's
out-of-memory killer). The jobs after it go to another worker.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from scheduler.core.errors import InvalidInput, PilotCommitError, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards.isolation import DEFAULT, Confinement, Isolation
from scheduler.rewards.process import Lost, WorkerProcess
from scheduler.rewards.reward_servers import RewardServers
from scheduler.rewards.spec import RewardJob, RewardKind, RewardSpec
from scheduler.rewards.wire import Failed, Judged, Loaded, Refused, Reply, Task

log = structlog.get_logger(__name__)

LOAD_TIMEOUT_S = 30.0
CHECK_TIMEOUT_S = 20.0
"""Whoever creates a pool or a run waits for it, for half a minute by default."""
_MAX_DEATHS = 2
_LOADING = -1
_CHEAP = frozenset({RewardKind.EXACT, RewardKind.NUMERIC, RewardKind.REGEX})

Answer = Judgement | RewardFailed


class RewardPool:
    """Judges completions in `num_workers` processes; lost workers are replaced when next needed.

    Start it from a thread that lives as long as the process: on Linux the workers die with the thread that
    made them.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        confinement: Confinement = DEFAULT,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        check_timeout_s: float = CHECK_TIMEOUT_S,
        servers: RewardServers | None = None,
    ) -> None:
        """`servers` are closed with the pool; without any, no reward server may be asked."""
        if num_workers < 1:
            raise InvalidInput(f"num_workers must be at least 1, got {num_workers}", field="num_workers")
        self._num_workers = num_workers
        self._confinement = confinement
        self.isolation: Isolation | None = None
        """What the system granted the newest worker; None before the first."""
        self._load_timeout_s = load_timeout_s
        self._check_timeout_s = check_timeout_s
        self._free = asyncio.Semaphore(num_workers)
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._closed = asyncio.Event()
        self._servers = servers or RewardServers()

    async def start(self) -> None:
        """Start every worker. Raises PilotCommitError if one does not come up."""
        try:
            while len(self._idle) < self._num_workers:
                self._idle.append(await self._new_worker())
        except PilotCommitError:
            await self.close()
            raise

    async def close(self) -> None:
        """Kill every worker; jobs still being judged or waiting are answered with RewardFailed."""
        self._closed.set()
        await self._servers.aclose()
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        for worker in workers:
            await worker.kill()

    async def check(self, spec: RewardSpec) -> None:
        """Load the reward in a worker, or ask its server, as at pool creation.

        Raises InvalidInput, with the reason, if a user's function cannot be imported or called, or its import
        kills the worker or takes longer than `load_timeout_s`; if a package is missing; if a server may not be asked or
        does not answer as it should; if all that takes longer than `check_timeout_s`, waiting for a worker included.
        """
        try:
            async with asyncio.timeout(self._check_timeout_s):
                await self._check(spec)
        except TimeoutError as exc:
            raise InvalidInput(
                f"reward {spec.name}: it was not found to work within {self._check_timeout_s:g} s; try again",
                field="reward",
            ) from exc

    async def _check(self, spec: RewardSpec) -> None:
        if spec.kind is RewardKind.HTTP:
            await self._servers.check(str(spec.target))
            return
        for attempt in range(1, 1 + self._max_deaths(loaded=False)):
            async with self._borrow() as worker:
                worker.send(Task(spec=spec, jobs=()))
                result = await worker.receive(self._load_timeout_s)
            match result:
                case [Loaded()]:
                    return
                case Lost(timed_out=False) if attempt < self._max_deaths(loaded=False):
                    continue
                case Lost(reason=reason) | [Refused(reason=reason)]:
                    raise InvalidInput(f"reward {spec.name}: {reason}", field="reward")

    async def judge(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[Answer]:
        """Judge `jobs` by `spec`, answers in the order of the jobs.

        Jobs are shared out over the workers, but for those of kinds that are too cheap for that. It raises nothing:
        whatever goes wrong is a RewardFailed. A cancelled call kills the workers it occupies.
        """
        if spec.kind is RewardKind.HTTP:
            return await self._servers.judge(str(spec.target), jobs)
        num_shares = 1 if spec.kind in _CHEAP else self._num_workers
        size = max(1, -(-len(jobs) // num_shares))
        shares = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        if len(shares) == 1:
            return await self._judge_share(spec, shares[0])
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._judge_share(spec, share)) for share in shares]
        return [answer for task in tasks for answer in task.result()]

    async def _judge_share(self, spec: RewardSpec, jobs: Sequence[RewardJob]) -> list[Answer]:
        """Consumes jobs; produces answers; waits for a free worker; each round answers a job or counts a death."""
        answers: list[Answer] = []
        deaths: Counter[int] = Counter()
        while len(answers) < len(jobs):
            try:
                async with self._borrow() as worker:
                    worker.send(Task(spec=spec, jobs=tuple(jobs[len(answers) :])))
                    loaded, lost = await self._collect(worker, spec.timeout_s, answers, len(jobs))
            except PilotCommitError as exc:
                return _fail_rest(answers, len(jobs), str(exc))
            if lost is None:
                continue
            suspect = len(answers) if loaded else _LOADING
            deaths[suspect] += 1
            if not lost.timed_out and deaths[suspect] < self._max_deaths(loaded=loaded):
                continue
            if not loaded:
                return _fail_rest(answers, len(jobs), lost.reason)
            answers.append(RewardFailed(lost.reason))
        return answers

    async def _collect(
        self, worker: WorkerProcess, timeout_s: float, answers: list[Answer], num_jobs: int
    ) -> tuple[bool, Lost | None]:
        """Append the worker's answers; say whether the reward was loaded, and how the worker was lost."""
        loaded = False
        while len(answers) < num_jobs:
            replies = await worker.receive(timeout_s if loaded else self._load_timeout_s)
            if isinstance(replies, Lost):
                return loaded, replies
            loaded = True
            for reply in replies:
                answers.extend(_answers(reply, num_jobs - len(answers)))
        return loaded, None

    def _max_deaths(self, *, loaded: bool) -> int:
        """Deaths that settle the blame; before loading, each idle worker may have been dead when it was asked."""
        return _MAX_DEATHS if loaded else self._num_workers + 1

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[WorkerProcess]:
        """A worker of one's own; back among the idle ones if it owes nothing, else killed."""
        async with self._free:
            worker = await self._idle_worker()
            self._busy.add(worker)
            try:
                yield worker
            finally:
                self._busy.discard(worker)
                if worker.is_idle() and not self._closed.is_set():
                    self._idle.append(worker)
                else:
                    await worker.kill()

    async def _idle_worker(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_idle():
                return worker
            await worker.kill()
        if not self._closed.is_set():
            worker = await self._new_worker()
            if not self._closed.is_set():
                return worker
            await worker.kill()
        raise PilotCommitError("the reward pool is closed")

    async def _new_worker(self) -> WorkerProcess:
        worker = await WorkerProcess.start(self._confinement)
        if self.isolation != worker.isolation:
            self.isolation = worker.isolation
            _tell(self._confinement, worker.isolation)
        return worker


def _tell(asked: Confinement, granted: Isolation) -> None:
    """Say once what rewards may do here."""
    if granted.missing:
        log.warning("reward_isolation", mode=asked.mode, in_force=granted.in_force, missing=granted.missing)
    else:
        log.info("reward_isolation", mode=asked.mode, in_force=granted.in_force)


def _answers(reply: Reply, num_missing: int) -> list[Answer]:
    match reply:
        case Judged(reward=reward) if not math.isfinite(reward):
            return [RewardFailed(f"the reward {reward} is not a finite number")]
        case Judged(reward=reward, correct=correct):
            return [Judgement(reward=reward, correct=correct)]
        case Failed(reason=reason):
            return [RewardFailed(reason)]
        case Refused(reason=reason):
            return [RewardFailed(reason) for _ in range(num_missing)]
        case _:
            return []


def _fail_rest(answers: Sequence[Answer], num_jobs: int, reason: str) -> list[Answer]:
    return [*answers, *(RewardFailed(reason) for _ in range(num_jobs - len(answers)))]
