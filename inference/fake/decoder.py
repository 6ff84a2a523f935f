"""The scheduler process of the fake server: its queues, its weights and its KV cache.

Owns: which requests wait and which run, and one decode step. Never waits and knows no time: a step is taken when the
server says so. Invariant: while paused nothing is decoded; a token is made under the weights held at its step.
"""

from collections import defaultdict
from dataclasses import dataclass

from inference.fake.job import Ending, Job
from inference.fake.policy import Policy


class OutOfVocabulary(Exception):
    """A token id without an embedding: SGLang's scheduler dies of it, and the server with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cached:
    tokens: tuple[int, ...]
    weights: str


class Decoder:
    """Continuous batching over a policy."""

    def __init__(self, policy: Policy, *, label: str, weights: str, vocab_size: int, max_running: int) -> None:
        self.label = label
        self.weights = weights
        self.paused = False
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.stale_hits = 0
        """How often a prompt was served from KV cache of other weights than those held: what a flush prevents."""
        self.prefilled_tokens = 0
        """Prompt tokens computed: those that no cache held."""
        self._policy = policy
        self._vocab_size = vocab_size
        self._max_running = max_running
        self._cache: defaultdict[str | None, list[_Cached]] = defaultdict(list)

    @property
    def runnable(self) -> bool:
        """Whether a step would do anything."""
        return not self.paused and bool(self.waiting or self.running)

    def step(self) -> None:
        """Admit what fits, prefill it, and make one token for every running request. Raises OutOfVocabulary."""
        if self.paused:
            return
        while self.waiting and len(self.running) < self._max_running:
            self.running.append(self._prefill(self.waiting.pop(0)))
        for job in self.running:
            job.decode(self._policy, self.label, self.weights)
            if job.ending is not None:
                self._remember(job)
        self.running = [job for job in self.running if job.ending is None]

    def abort(self, rid: str) -> None:
        """Abort every request whose rid starts with `rid`, as SGLang does; the empty rid means all."""
        for job in [job for job in self.waiting if job.rid.startswith(rid)]:
            self.waiting.remove(job)
            job.ending = Ending.ABORTED_IN_QUEUE
        for job in self.running:
            job.to_abort = job.to_abort or job.rid.startswith(rid)

    def retract(self) -> None:
        """Send what runs back to the queue, without its KV cache."""
        for job in self.running:
            job.num_retractions += 1
        self.waiting += self.running
        self.running = []

    def flush(self) -> bool:
        """Drop the KV cache; refused while anything runs, or waits without being paused."""
        if self.running or (self.waiting and not self.paused):
            return False
        self._cache.clear()
        return True

    def _prefill(self, job: Job) -> Job:
        ids = job.request.input_ids
        if any(not 0 <= token < self._vocab_size for token in ids):
            raise OutOfVocabulary
        hits = [(_common_prefix(entry.tokens, ids[:-1]), entry) for entry in self._cache[job.request.extra_key]]
        length, entry = max(hits, key=lambda hit: hit[0], default=(0, None))
        if length and entry is not None and entry.weights != self.weights:
            self.stale_hits += 1
        # What is scored is computed, and nothing of it taken from the cache.
        most = job.request.logprob_start_len if job.request.scores_prompt else length
        cached = min(length, most)
        self.prefilled_tokens += len(ids) - cached
        return job.prefill(self._policy, self.weights, cached)

    def _remember(self, job: Job) -> None:
        tokens = (*job.request.input_ids, *job.token_ids)
        self._cache[job.request.extra_key].append(_Cached(tokens=tokens, weights=job.kv_weights))


def _common_prefix(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    for length, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return length
    return min(len(left), len(right))
