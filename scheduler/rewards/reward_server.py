"""One reward server: completions of all visits gathered into requests, asked again where that may help.

Owns: what waits, the requests in flight, their retries, and finding the completion at fault in a batch. Never judges
and never turns a failure into a zero. Invariant: every completion gets exactly one answer, a Judgement or a
RewardFailed, within (tries + 2) x timeout and the pauses between; where a batch is taken apart, as long for each part.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from uuid import uuid4

import structlog

from inference.channel import Channel
from scheduler.core.errors import InferenceError, PilotCommitError, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards import server_wire
from scheduler.rewards.batching import Terms
from scheduler.rewards.server_wire import Fault, Unanswered
from scheduler.rewards.spec import RewardJob

log = structlog.get_logger(__name__)

_RETRY_S = 0.5
"""Before the second try; doubled with every other."""
_CLOSED = "the scheduler stopped asking its reward server"

Answer = Judgement | RewardFailed
Connect = Callable[[], AbstractAsyncContextManager[Channel]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    ident: str
    body: bytes
    answer: asyncio.Future[Answer]


class RewardServer:
    """The server at one address; close it with `aclose`."""

    def __init__(self, url: str, connect: Connect, terms: Terms, *, retry_s: float = _RETRY_S) -> None:
        """`connect` gives the channel to use now, for one request."""
        self._url = url
        self._connect = connect
        self._terms = terms
        self._retry_s = retry_s
        self._waiting: deque[_Waiting] = deque()
        self._asking: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = count()
        self._closed = False

    async def check(self) -> None:
        """Ask about no completion at all; raises PilotCommitError, with the reason, unless that is answered well."""
        await self._ask((), tries=1)

    async def judge(self, jobs: Sequence[RewardJob]) -> list[Answer]:
        """The answers to `jobs`, in their order. It raises nothing: whatever goes wrong is a RewardFailed."""
        if self._closed:
            return [RewardFailed(_CLOSED) for _ in jobs]
        loop = asyncio.get_running_loop()
        waiting = list[_Waiting]()
        for job in jobs:
            ident = f"c{next(self._numbers)}"
            waiting.append(_Waiting(ident, server_wire.completion(ident, job), loop.create_future()))
        self._waiting.extend(waiting)
        self._look()
        try:
            return [await each.answer for each in waiting]
        finally:
            for each in waiting:
                each.answer.cancel()

    async def aclose(self) -> None:
        """Ask nothing any more: what waits or is in flight is answered with RewardFailed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        _settle(self._waiting, [RewardFailed(_CLOSED) for _ in self._waiting])
        self._waiting.clear()

    def _look(self, *, due: bool = False) -> None:
        """Send every batch that is full, or all that waits if it is due; else look again when it will be."""
        self._waiting = deque(each for each in self._waiting if not each.answer.done())
        while self._waiting and len(self._asking) < self._terms.requests:
            size = self._terms.first(len(each.body) for each in self._waiting)
            if not (due or size == self._terms.batch or size < len(self._waiting)):
                break
            batch = tuple(self._waiting.popleft() for _ in range(size))
            task = asyncio.create_task(self._settle(batch), name=f"reward-server-{self._url}")
            self._asking.add(task)
            task.add_done_callback(partial(self._landed, batch))
        if self._waiting and self._timer is None and len(self._asking) < self._terms.requests:
            self._timer = asyncio.get_running_loop().call_later(self._terms.wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._look(due=True)

    def _landed(self, batch: Sequence[_Waiting], task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        # A task that is cancelled before its first step never answers anything itself.
        _settle(batch, [RewardFailed(_CLOSED) for _ in batch])
        if not self._closed:
            # Whatever waits now has waited for this request to end.
            self._look(due=True)

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self._answers(batch)
        except Exception as exc:
            reason = type(exc).__name__
            log.exception("reward_server_failed", url=self._url, num_completions=len(batch), reason=reason)
            answers = [RewardFailed(f"asking the reward server failed: {exc!r}") for _ in batch]
        _settle(batch, answers)

    async def _answers(self, batch: Sequence[_Waiting], *, is_sane: bool = False) -> list[Answer]:
        """The answers to a batch; one that cannot be answered is halved, if the server answers at all otherwise."""
        try:
            return await self._ask(batch, tries=self._terms.tries)
        except Unanswered as unanswered:
            fault, reason, told = unanswered.fault, unanswered.reason, str(unanswered)
        except PilotCommitError as exc:
            fault, reason, told = Fault.FINAL, str(exc), str(exc)
        if fault in (Fault.CONTENT, Fault.BROKEN) and len(batch) > 1 and (is_sane or await self._is_sane()):
            log.info("reward_server_batch_halved", url=self._url, num_completions=len(batch), reason=reason)
            middle = len(batch) // 2
            left = await self._answers(batch[:middle], is_sane=True)
            return left + await self._answers(batch[middle:], is_sane=True)
        log.warning("reward_server_failed", url=self._url, num_completions=len(batch), reason=reason)
        return [RewardFailed(f"the reward server {self._url}: {told}") for _ in batch]

    async def _is_sane(self) -> bool:
        """Whether it is the completions rather than the server."""
        try:
            await self.check()
        except PilotCommitError:
            return False
        return True

    async def _ask(self, batch: Sequence[_Waiting], *, tries: int) -> list[Answer]:
        """Send one batch up to `tries` times; a server may be asked about a completion twice. Raises Unanswered."""
        body = server_wire.question(uuid4().hex, [each.body for each in batch])
        idents = [each.ident for each in batch]
        for attempt in count(1):
            try:
                return await self._ask_once(idents, body)
            except Unanswered as unanswered:
                if attempt >= tries or unanswered.fault in (Fault.CONTENT, Fault.FINAL):
                    raise
                log.info("reward_server_retried", url=self._url, attempt=attempt, reason=unanswered.reason)
            await asyncio.sleep(self._retry_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable: the last try returns or raises")

    async def _ask_once(self, idents: Sequence[str], body: bytes) -> list[Answer]:
        try:
            async with self._connect() as channel:
                said = await channel.call("POST", "", body=body, timeout_s=self._terms.timeout_s)
        except InferenceError as exc:
            raise Unanswered(Fault.PASSING, str(exc)) from exc
        return server_wire.read(idents, said.status, said.body)


def _settle(batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for each, answer in zip(batch, answers, strict=True):
        if not each.answer.done():
            each.answer.set_result(answer)
