"""A scripted SGLang 0.5.23: the state machine behind its HTTP surface, as measured on the real one.

Owns: pausing, the lock between requests and updates, weights and their label, aborts, and death. Never knows HTTP.
Invariant: whatever a test sees here, a real server was seen to do; tests/contract holds both to the same suite.

By default time does not exist: a request is decoded to its end as soon as it may run. A test that cares calls `hold`,
then `step` for each decode step, and `release`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from inference.fake.decoder import Decoder, OutOfVocabulary
from inference.fake.faults import Faults
from inference.fake.job import Job, Sampled
from inference.fake.launch_config import FakeConfig
from inference.fake.policy import BigramPolicy, Policy
from inference.fake.refusals import QueueFull, Refused, ServerGone
from inference.fake.traffic import Traffic
from inference.fake.weight_groups import Air, WeightGroups

PAUSE_ABORT, PAUSE_RETRACT, PAUSE_IN_PLACE = "abort", "retract", "in_place"
NOT_FLUSHED = (
    "Weights were updated, but the cache was not flushed because requests are still running or queued. "
    "Retract or finish them, then call /flush_cache."
)
_RESERVED_TOKENS = 6
"""SGLang keeps this many positions of the context from the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The answer of an update of the weights."""

    success: bool
    message: str


class FakeServer:
    """One fake server. All its waiting is on one event that every change of state sets."""

    def __init__(self, config: FakeConfig | None = None, *, policy: Policy | None = None) -> None:
        self.config = config or FakeConfig()
        self.faults = Faults()
        self.num_restarts = 0
        self._policy = policy or BigramPolicy(vocab_size=self.config.vocab_size)
        self._held = False
        self._changed = asyncio.Event()
        self._air = self.config.air or Air()
        self._air.watch(self._announce)
        self._boot(self.config.model_path, self.config.weight_version)

    def _boot(self, model_path: str, weight_version: str) -> None:
        self.dead = False
        self.paused: str | None = None
        self.model_path = model_path
        self.weight_version = weight_version
        """What /model_info says; the decoder's own label is what tokens carry."""
        self.decoder = Decoder(
            self._policy,
            label=weight_version,
            weights=self.config.checkpoints(model_path) or f"launch:{model_path}",
            vocab_size=self.config.vocab_size,
            max_running=self.config.max_running,
        )
        self._traffic = Traffic()
        self.started_s = random.random()
        """How long the start took: no two take the same time."""
        self.weight_groups = WeightGroups(self._air, self.config.num_ranks)

    # Time, life and death.

    def hold(self) -> None:
        """Stop time: nothing is decoded but by `step`."""
        self._held = True

    async def step(self, count: int = 1) -> None:
        """Take `count` decode steps; whoever is about to ask does so before, and everybody notices after."""
        for _ in range(count):
            await asyncio.sleep(0)
            self._step()
        await asyncio.sleep(0)

    def release(self) -> None:
        """Let time run again: whatever can be decoded is, at once."""
        self._held = False
        self._advance()

    def die(self) -> None:
        """Drop every connection and answer nothing any more."""
        self.dead = True
        self.weight_groups.die()
        self._announce()

    def restart(self, *, model_path: str | None = None, weight_version: str | None = None) -> None:
        """Come back as a supervisor would bring it back: with these weights, else the launch ones, and nothing else."""
        self.die()
        self.num_restarts += 1
        self._boot(model_path or self.config.model_path, weight_version or self.config.weight_version)

    @property
    def ready(self) -> bool:
        """What /ready says."""
        return self.paused is None

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Rids of all requests not yet answered, those blocked by a pause included."""
        return tuple(self._traffic.jobs)

    @property
    def num_generated(self) -> int:
        """Tokens of the requests it has answered in this life."""
        return self._traffic.num_generated

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds of this server; raises ServerGone if it dies first."""
        decoder = self.decoder
        while True:
            if self.dead or self.decoder is not decoder:
                raise ServerGone
            if condition():
                return
            await self._changed.wait()

    # The data plane.

    async def generate(self, request: Sampled) -> Job:
        """Answer one request, when the server is neither paused nor updating and has decoded it to its end.

        Raises Refused, QueueFull or ServerGone. Cancelling it aborts the request, as a client that hangs up does.
        """
        traffic, decoder = self._traffic, self.decoder
        if request.rid in traffic.jobs:
            raise Refused(f"Duplicate request ID detected: {request.rid}")
        job = traffic.jobs[request.rid] = Job(request=request)
        self._announce()
        try:
            await self.until(lambda: self.paused is None)
            async with self._reading():
                self._admit(job)
                try:
                    await self.until(lambda: job.ending is not None)
                finally:
                    if job.ending is None:
                        decoder.abort(job.rid)
                traffic.num_generated += len(job.token_ids)
        finally:
            del traffic.jobs[request.rid]
            self._advance()
        return job

    def _admit(self, job: Job) -> None:
        request, context = job.request, self.config.context_length
        num_prompt = len(request.input_ids)
        if num_prompt + request.max_new_tokens > context:
            raise Refused(
                f"Requested token count exceeds the model's maximum context length of {context} tokens. You requested "
                f"a total of {num_prompt + request.max_new_tokens} tokens."
            )
        if num_prompt > context - _RESERVED_TOKENS:
            raise Refused(f"Input length ({num_prompt} tokens) exceeds the maximum allowed length.")
        if request.temperature < 0:
            raise Refused(f"temperature must be a non-negative finite number, got {request.temperature}.")
        if self.config.max_queued is not None and len(self.decoder.waiting) >= self.config.max_queued:
            raise QueueFull
        self.decoder.waiting.append(job)
        self._advance()

    # The control plane.

    async def pause(self, mode: str) -> None:
        """Pause; in mode abort this waits until everything in flight has been answered."""
        await self._settled()
        self.paused = mode
        if mode == PAUSE_ABORT:
            await self._abort_until_idle()
        else:
            self.decoder.paused = True
            if mode == PAUSE_RETRACT:
                self.decoder.retract()
        self._announce()

    async def _abort_until_idle(self) -> None:
        traffic = self._traffic
        traffic.pausing = True
        try:
            self.abort(everything=True)
            await self.until(lambda: traffic.readers == 0)
        finally:
            traffic.pausing = False
            self._announce()

    async def _settled(self) -> None:
        """Wait for a pause that is still aborting."""
        traffic = self._traffic
        await self.until(lambda: not traffic.pausing)

    async def resume(self) -> None:
        """Continue; waits for a pause that is still aborting."""
        await self._settled()
        self.paused = None
        self.decoder.paused = False
        self._advance()

    def abort(self, rid: str = "", *, everything: bool = False) -> None:
        """Abort one request known by exactly this rid, or everything in the scheduler.

        A request blocked by a pause is not in the scheduler yet: the order is lost on it, and so is every later one.
        """
        job = self._traffic.jobs.get(rid)
        if not everything:
            if job is None or job.abort_sent:
                return
            job.abort_sent = True
        self.decoder.abort("" if everything else rid)
        self._advance()

    async def flush(self, timeout_s: float = 0.0) -> bool:
        """Drop the KV cache, waiting at most `timeout_s` for the server to be idle."""
        if self.decoder.flush():
            return True
        if timeout_s <= 0:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(self.decoder.flush)
        except TimeoutError:
            return False
        return True

    async def update(
        self, model_path: str, label: str | None, *, flush: bool = True, abort_all: bool = False
    ) -> Updated:
        """Load other weights: at once while paused, else when everything in flight has been answered.

        A second update while paused, before the first is through, kills the server.
        """
        if abort_all:
            self.abort(everything=True)
        await self._settled()
        if self.paused is not None:
            return await self._load(model_path, label, flush=flush)
        async with self._writing():
            return await self._load(model_path, label, flush=flush)

    async def _load(self, model_path: str, label: str | None, *, flush: bool) -> Updated:
        traffic = self._traffic
        if traffic.updates:
            self.die()
            raise ServerGone
        weights = self.config.checkpoints(model_path)
        if weights is None:
            return Updated(success=False, message=f"Failed to get weights iterator: no checkpoint at {model_path!r}.")
        traffic.updates += 1
        try:
            await asyncio.sleep(0)
            await self.until(lambda: traffic.updates == 1)
        finally:
            traffic.updates -= 1
        updated = self.replace_weights(weights, label, message="Succeeded to update model weights.", flush=flush)
        self.model_path = model_path if updated.success else self.model_path
        return updated

    def replace_weights(self, weights: str, label: str | None, *, message: str, flush: bool) -> Updated:
        """Other weights from the next token on; what an update answers."""
        self.decoder.weights, self.decoder.label = weights, label or self.decoder.label
        if flush and not self.decoder.flush():
            return Updated(success=False, message=NOT_FLUSHED)
        self.weight_version = label or self.weight_version
        suffix = f" Weight version updated to {label}." if label is not None else ""
        return Updated(success=True, message=f"{message}{suffix}")

    @asynccontextmanager
    async def updating(self) -> AsyncIterator[None]:
        """Hold what an update that waits for a learner holds: nobody pauses or continues meanwhile."""
        await self._settled()
        if self.paused is None:
            async with self._writing():
                yield
            return
        traffic = self._traffic
        traffic.pausing = True
        try:
            yield
        finally:
            traffic.pausing = False
            self._announce()

    # Machinery.

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        traffic = self._traffic
        await self.until(lambda: traffic.writers == 0)
        traffic.readers += 1
        try:
            yield
        finally:
            traffic.readers -= 1
            self._announce()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Exclude requests; a writer that waits already keeps new ones out."""
        traffic = self._traffic
        traffic.writers += 1
        try:
            await self.until(lambda: traffic.readers == 0 and traffic.updates == 0)
            yield
        finally:
            traffic.writers -= 1
            self._announce()

    def _step(self) -> None:
        try:
            self.decoder.step()
        except OutOfVocabulary:
            self.die()
        self._announce()

    def _advance(self) -> None:
        while not self._held and not self.dead and self.decoder.runnable:
            self._step()
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
