"""Making attempts: from a number of rollouts wanted to rollouts with rewards.

Owns: sending attempts, and aborting those that are called back. Never decides what to ask for or what to call back, and
never asks again by itself. Invariant: each attempt has its own rid and seed, and is seen to its end.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from inference.protocol import GenerateRequest, Score, WeightLabel
from scheduler.core.errors import Aborted, InferenceError, ServerRefused
from scheduler.core.run import RunConfig
from scheduler.core.types import Completion, Prompt
from scheduler.engine.flights import Flight, Flights, Recall, Volley
from scheduler.engine.judging import Answered, Judge, Judged, Lost, Recalled, Refused, Scored
from scheduler.engine.prompt_cache import PromptCache
from scheduler.fleet import Dispatch, Share

log = structlog.get_logger(__name__)

_CONFIRM_TIMEOUT_S = 60.0


_ReplyT = TypeVar("_ReplyT", Completion, Score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends the attempts of one run and has their completions judged."""

    share: Share
    judge: Judge
    config: RunConfig
    run_id: str
    fence: int
    flights: Flights
    retry_s: float
    """Pause before the second try; it doubles with each one after."""
    recall_s: float = 5.0
    """How long an attempt that was called back may take to end before nobody waits for it any more."""
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cache: PromptCache = field(default_factory=PromptCache)

    @asynccontextmanager
    async def turn(self, attempt: int, *, tries: int, suspect: bool) -> AsyncIterator[None]:
        """The moment for try number `attempt` (from 0) of `tries` of attempts that were lost before.

        `suspect`: a server went away with them. One prompt can kill a server under hundreds of others; so that only
        the culprit runs out of tries, the last try of each suspect is made while no other suspect makes one.
        """
        async with AsyncExitStack() as stack:
            if attempt:
                await asyncio.sleep(self.retry_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
            if suspect and attempt + 1 == tries:
                await stack.enter_async_context(self._alone)
            yield

    async def make(
        self, prompt: Prompt, visit_id: str, volley: Volley, count: int, *, round_number: int, first: int
    ) -> Judged:
        """Make `count` attempts of a volley at once and judge what comes back.

        `first` numbers them within the visit; seeds follow from it, the prompt and `round_number` (its visits so far).
        """
        numbers = range(first, first + count)
        with self.flights.under_way(volley):
            answered = await asyncio.gather(
                *(
                    self._sample(
                        prompt, volley, self.rid(visit_id, number), self._seed(prompt, round_number, number), count
                    )
                    for number in numbers
                )
            )
            return await self.judge.judge(prompt, volley.stage, answered)

    async def score(
        self, prompt: Prompt, target_ids: tuple[int, ...], visit_id: str, volley: Volley, *, number: int
    ) -> Scored:
        """One attempt that generates nothing: the log-probs of `target_ids` after the prompt, at temperature 1."""
        rid = self.rid(visit_id, number)

        async def ask(dispatch: Dispatch) -> Score:
            return await dispatch.server.client.score(
                prompt.input_ids + target_ids,
                rid=rid,
                label=WeightLabel(run=self.run_id, version=dispatch.version),
                timeout_s=self.config.attempt_timeout_s,
                start=len(prompt.input_ids),
            )

        with self.flights.under_way(volley):
            answer, _ = await self._send(prompt, volley, rid, ask)
            return answer

    def rid(self, visit_id: str, number: int) -> str:
        """The request id of one attempt of a visit."""
        # The fence keeps a successor's rids apart from those its predecessor may still have in flight.
        return f"{visit_id}-{self.fence}-{number}"

    def _seed(self, prompt: Prompt, round_number: int, number: int) -> int:
        # A successor numbers from 0 again: without the fence its commits would repeat its predecessor's pilots.
        key = f"{self.config.seed}:{self.fence}:{prompt.prompt_id}:{round_number}:{number}"
        # Not a checksum: those are linear, and the seeds of one prompt's attempts would differ alike for every prompt.
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF

    async def _sample(self, prompt: Prompt, volley: Volley, rid: str, seed: int, at_once: int) -> Answered:
        async def ask(dispatch: Dispatch) -> Completion:
            await self._cache.hold(prompt, dispatch, at_once, lambda: self._prefill(prompt, dispatch, rid))
            volley.samples_from(dispatch.server.version)
            request = GenerateRequest(
                rid=rid,
                run=self.run_id,
                version=dispatch.version,
                input_ids=prompt.input_ids,
                sampling=self.config.sampling,
                sampling_seed=seed,
                timeout_s=self.config.attempt_timeout_s,
            )
            return await dispatch.server.client.generate(request)

        answer, server = await self._send(prompt, volley, rid, ask)
        return Answered(rid=rid, answer=answer, server=server)

    async def _prefill(self, prompt: Prompt, dispatch: Dispatch, rid: str) -> None:
        await dispatch.server.client.prefill(
            prompt.input_ids,
            rid=f"{rid}-prompt",
            label=WeightLabel(run=self.run_id, version=dispatch.version),
            timeout_s=self.config.attempt_timeout_s,
            max_new_tokens=self.config.sampling.max_new_tokens,
        )

    async def _send(
        self, prompt: Prompt, volley: Volley, rid: str, ask: Callable[[Dispatch], Awaitable[_ReplyT]]
    ) -> tuple[_ReplyT | Refused | Lost | Recalled, str]:
        """Send one attempt and see it through to its end, or to the moment at which it is called back.

        Returns the answer, and the address of the server it was sent to; empty if to none.
        """
        flight = Flight(rid=rid)
        volley.flights.add(flight)
        aborts: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(None) as patience:

                def call_back() -> None:
                    # One that has no server yet has nothing to end there.
                    moment_s = 0.0 if flight.dispatch is None else self.recall_s
                    patience.reschedule(asyncio.get_running_loop().time() + moment_s)
                    if flight.dispatch is not None:
                        aborts.append(asyncio.create_task(self.share.recall(flight.dispatch, rid)))

                flight.on_recall = call_back
                answer = await self._fly(prompt, volley, flight, ask)
        except TimeoutError:
            if flight.recalled is None:
                raise
            answer = self._given_up(flight, flight.recalled)
        finally:
            volley.flights.discard(flight)
            # It holds the flight, and so all that came of it, until the garbage collector looked.
            flight.on_recall = None
            if aborts:
                # What it was to abort has ended, or is not waited for any more.
                aborts[0].cancel()
                await asyncio.wait(aborts)
        return answer, "" if flight.dispatch is None else flight.dispatch.server.url

    def _given_up(self, flight: Flight, why: Recall) -> Recalled:
        at_worst = 0 if flight.dispatch is None else self.config.sampling.max_new_tokens
        return Recalled(why=why, num_tokens=at_worst)

    async def _fly(
        self, prompt: Prompt, volley: Volley, flight: Flight, ask: Callable[[Dispatch], Awaitable[_ReplyT]]
    ) -> _ReplyT | Refused | Lost | Recalled:
        rid, stage = flight.rid, volley.stage
        async with self.share.slot(stage, prompt.prompt_id) as dispatch:
            if flight.recalled is not None:
                return Recalled(why=flight.recalled, num_tokens=0)
            flight.sent(dispatch, time.monotonic())
            ids = {
                "run": self.run_id,
                "prompt": prompt.prompt_id,
                "rid": rid,
                "stage": stage,
                "url": dispatch.server.url,
            }
            try:
                async with dispatch.server.call():
                    reply = await ask(dispatch)
            except ServerRefused as error:
                log.info("attempt_refused", **ids, reason=str(error))
                return Refused(reason=str(error))
            except InferenceError as error:
                if isinstance(error, Aborted) and flight.recalled is not None:
                    at_worst = self.config.sampling.max_new_tokens
                    num_tokens = at_worst if error.num_tokens is None else min(at_worst, error.num_tokens)
                    return Recalled(why=flight.recalled, num_tokens=num_tokens)
                log.info("attempt_lost", **ids, reason=str(error))
                return Lost(reason=str(error), server_gone=await self.share.lost(dispatch, rid, error))
            volley.came_back(flight, time.monotonic())
            doubt = await self.share.vouched(dispatch, reply, timeout_s=_CONFIRM_TIMEOUT_S)
            if doubt:
                log.info("attempt_lost", **ids, reason=doubt)
                return Lost(reason=doubt)
            return reply
