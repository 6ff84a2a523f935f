"""The learner's side of the API: take groups, report what became of them.

Owns: the calls of a learner process, and making them again while the scheduler is away. Never trains. Invariant: a
report is made again until it is answered or patience runs out, which is safe because reporting twice changes nothing.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

import httpx
import msgspec
import structlog

from scheduler.client import bearer, error_of
from scheduler.core.broadcast import BroadcastOffer, BroadcastOrder, Rendezvous
from scheduler.core.errors import NotAtWork, ServerUnavailable, StreamEnded, TooManyRequests
from scheduler.core.evaluation import EvaluationState
from scheduler.frames import FORMAT, MSGPACK, Attached, FinalFrame, Frame, FrameDecoder, check_written
from scheduler.learner_calls import Course

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_IN_USE = frozenset({"announced", "pushing", "live"})


class _Version(msgspec.Struct, frozen=True):
    version: int
    path: str
    state: str


class _Versions(msgspec.Struct, frozen=True):
    weights: tuple[_Version, ...]


class _Orders(msgspec.Struct, frozen=True):
    order: BroadcastOrder | None


class _Round(msgspec.Struct, frozen=True):
    over: bool


class _Spend(msgspec.Struct, frozen=True):
    rollouts: int
    tokens: int


class _Run(msgspec.Struct, frozen=True):
    spend: _Spend
    considered: int
    skip_rates: dict[str, float]
    pilot_success_rate: float | None

    def numbers(self) -> dict[str, float]:
        numbers: dict[str, float] = {
            "spent_rollouts": self.spend.rollouts,
            "spent_tokens": self.spend.tokens,
            "considered": self.considered,
            **{f"skip_rate/{verdict}": rate for verdict, rate in self.skip_rates.items()},
        }
        return numbers if self.pilot_success_rate is None else numbers | {"pilot_success_rate": self.pilot_success_rate}


class _Evaluation(msgspec.Struct, frozen=True):
    state: str
    step: int
    accuracy: float | None


class _Evaluations(msgspec.Struct, frozen=True):
    evaluations: tuple[_Evaluation, ...]


class LearnerLink:
    """One run as its learner reaches it; an asynchronous context manager."""

    def __init__(
        self,
        url: str,
        run_id: str,
        *,
        token: str | None = None,
        patience_s: float = 300.0,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`token` has the scope learn, where there are tokens.

        `patience_s` bounds how long a call is made again while the scheduler is away or not ready for it.
        """
        self._run_id = run_id
        self._patience_s = patience_s
        timeout = httpx.Timeout(30.0, connect=5.0)
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=bearer(token),
            timeout=timeout,
            transport=transport,
            verify=tls or True,
            trust_env=False,
        )
        self._stream_timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def attach(self, *, incarnation: str, step: int, trained: Mapping[int, Sequence[str]]) -> Attached:
        """Take the run's groups from here on; waits while the run is not at work, however long: it may be queued.

        Raises NotFound for the run, ServerUnavailable if the scheduler is away for longer than the patience,
        InvalidInput where scheduler and reader know no common format of frames.
        """
        by_step = {str(number): group_ids for number, group_ids in trained.items()}
        body = {"incarnation": incarnation, "step": step, "trained": by_step, "formats": [FORMAT]}
        answer = await self._patiently("POST", "learner", msgspec.json.encode(body), in_queue=True)
        attached = msgspec.json.decode(answer, type=Attached)
        check_written(attached.format)
        # Four heartbeats of silence are a dead scheduler.
        self._stream_timeout = httpx.Timeout(30.0, connect=5.0, read=4 * attached.heartbeat_s)
        return attached

    async def publish(self, *, incarnation: str, step: int, path: str, manifest_digest: str) -> int:
        """Announce initial or restored weights; returns their version."""
        body = {"incarnation": incarnation, "step": step, "path": path, "digest": manifest_digest}
        return msgspec.json.decode(await self._report("weights", body), type=_Version).version

    async def applied(
        self,
        *,
        incarnation: str,
        step: int,
        group_ids: Sequence[str],
        refused: Mapping[str, int],
        path: str,
        manifest_digest: str,
        stats: Mapping[str, float],
    ) -> int:
        """Report a step and announce its weights; returns their version."""
        body = {
            "incarnation": incarnation,
            "step": step,
            "group_ids": group_ids,
            "refused": refused,
            "path": path,
            "digest": manifest_digest,
            "stats": stats,
        }
        return msgspec.json.decode(await self._report("applied", body), type=_Version).version

    async def checkpointed(self, *, incarnation: str, step: int) -> None:
        """Report that everything applied up to `step` is saved."""
        await self._report("checkpointed", {"incarnation": incarnation, "step": step})

    async def weights_in_use(self) -> Collection[str]:
        """Paths of weights that servers may still be loading."""
        answer = await self._patiently("GET", "weights", None)
        versions = msgspec.json.decode(answer, type=_Versions).weights
        return frozenset(version.path for version in versions if version.state in _IN_USE)

    async def course(self) -> Course:
        """How the run goes. Not asked again."""
        run = msgspec.json.decode(await self._once("GET", "", None), type=_Run)
        found = msgspec.json.decode(await self._once("GET", "evaluations", None), type=_Evaluations).evaluations
        accuracies = {
            one.step: one.accuracy for one in found if one.state == EvaluationState.DONE and one.accuracy is not None
        }
        return Course(numbers=run.numbers(), accuracies=accuracies)

    async def offer_broadcast(self, *, incarnation: str, offer: BroadcastOffer) -> None:
        """Say what can be broadcast; saying it again changes nothing."""
        body = {"incarnation": incarnation, "backend": offer.backend, "buckets": offer.buckets}
        await self._report("broadcaster", body)

    async def broadcast_order(self, *, incarnation: str, rendezvous: Rendezvous) -> BroadcastOrder | None:
        """The next order for a learner that listens at `rendezvous`; None if there was none for a while."""
        body = {"incarnation": incarnation, "address": rendezvous.address, "port": rendezvous.port}
        return msgspec.json.decode(await self._report("broadcasts", body), type=_Orders).order

    async def is_broadcast_over(self, *, incarnation: str, group: str) -> bool:
        """Whether a round is over; a scheduler that does not answer has given it up. Not asked again."""
        body = msgspec.json.encode({"incarnation": incarnation})
        try:
            answer = await self._once("POST", f"broadcasts/{group}", body)
        except (ServerUnavailable, NotAtWork):
            return True
        return msgspec.json.decode(answer, type=_Round).over

    async def stream(self, *, incarnation: str) -> AsyncGenerator[Frame, None]:
        """The group stream until its final frame; after a reconnect frames may come again.

        Raises StaleIncarnation if another learner attached, StreamEnded when patience runs out.
        """
        last_heard, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                # Closed here, so that a reader that stops does not leave the connection to the garbage collector.
                async with aclosing(self._connection(incarnation)) as frames:
                    async for frame in frames:
                        last_heard, pause_s = time.monotonic(), _FIRST_PAUSE_S
                        yield frame
                        if isinstance(frame, FinalFrame):
                            return
                reason = "the scheduler closed the stream"
            except (httpx.TransportError, ServerUnavailable, NotAtWork, TooManyRequests) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() - last_heard > self._patience_s:
                raise StreamEnded(f"run {self._run_id}: no frame for {self._patience_s:g} s: {reason}")
            log.info("stream_reconnects", run=self._run_id, reason=reason)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _connection(self, incarnation: str) -> AsyncGenerator[Frame, None]:
        decoder = FrameDecoder()
        request = self._http.stream(
            "GET",
            self._path("groups"),
            params={"incarnation": incarnation},
            headers={"accept": MSGPACK},
            timeout=self._stream_timeout,
        )
        async with request as response:
            if not response.is_success:
                await response.aread()
                raise error_of(response)
            async for data in response.aiter_bytes():
                for frame in decoder.feed(data):
                    yield frame

    async def _report(self, what: str, body: Mapping[str, object]) -> bytes:
        return await self._patiently("POST", what, msgspec.json.encode(body))

    async def _patiently(self, method: str, what: str, body: bytes | None, *, in_queue: bool = False) -> bytes:
        """Ask until there is an answer: the scheduler may be restarting, or its new incarnation not yet at work.

        `in_queue`: a run that is not at work may be queued, for days, which is no reason to give up.
        """
        until, pause_s, told = time.monotonic() + self._patience_s, _FIRST_PAUSE_S, ""
        while True:
            try:
                return await self._once(method, what, body)
            except (ServerUnavailable, NotAtWork, TooManyRequests) as error:
                if in_queue and isinstance(error, NotAtWork):
                    until = time.monotonic() + self._patience_s
                elif time.monotonic() > until:
                    raise
                if str(error) != told:
                    told = str(error)
                    log.info("report_again", run=self._run_id, what=what, reason=told)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _once(self, method: str, what: str, body: bytes | None) -> bytes:
        headers = {"content-type": "application/json"}
        try:
            response = await self._http.request(method, self._path(what), content=body, headers=headers)
        except httpx.TransportError as exc:
            raise ServerUnavailable(f"no scheduler answers at {self._http.base_url}: {exc!r}") from exc
        if not response.is_success:
            raise error_of(response)
        return response.content

    def _path(self, what: str) -> str:
        return f"/v1/runs/{self._run_id}/{what}".removesuffix("/")
