"""One request inside the fake server.

Owns: the tokens made so far and the weights behind them. Never waits. Invariant: spans cover exactly the tokens made.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from inference.fake.policy import Answer, Ask, Policy


class Ending(StrEnum):
    """How a request ended."""

    STOP = "stop"
    """The policy said so."""
    LENGTH = "length"
    """All tokens asked for were made, or the policy had no more."""
    ABORTED = "aborted"
    """Aborted while running, after one more decode step."""
    ABORTED_IN_QUEUE = "aborted_in_queue"
    """Aborted while waiting; its answer lacks most of the usual fields."""


@dataclass(slots=True, kw_only=True)
class Span:
    """Tokens [start, end) were made under one label."""

    version: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What a request asks: the prompt and how to sample from it."""

    rid: str
    input_ids: tuple[int, ...]
    max_new_tokens: int
    temperature: float = 1.0
    seed: int | None = None
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    extra_key: str | None = None
    return_logprob: bool = False
    logprob_start_len: int = -1

    @property
    def scores_prompt(self) -> bool:
        """Whether it asks for log-probs of its prompt."""
        return 0 <= self.logprob_start_len < len(self.input_ids)

    def ask(self, label: str, weights: str) -> Ask:
        """The question put to the policy under these weights."""
        return Ask(
            input_ids=self.input_ids,
            label=label,
            weights=weights,
            seed=self.seed,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            ignore_eos=self.ignore_eos,
            stop_token_ids=self.stop_token_ids,
        )


@dataclass(slots=True, kw_only=True)
class Job:
    """A request and how far it has come."""

    request: Sampled
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    prompt_logprobs: tuple[float, ...] = ()
    """Of the prompt's tokens after the one at `logprob_start_len`, if it asked for any."""
    text: str = ""
    spans: list[Span] = field(default_factory=list)
    ending: Ending | None = None
    cached_tokens: int = 0
    num_retractions: int = 0
    abort_sent: bool = False
    """An abort was passed on to the scheduler; SGLang never passes on a second one."""
    to_abort: bool = False
    """It was running when the abort came: the next decode step is its last."""
    kv_weights: str = ""
    """Fingerprint of the weights its KV cache was computed with."""
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    @property
    def rid(self) -> str:
        """The id it came with."""
        return self.request.rid

    def prefill(self, policy: Policy, weights: str, cached_tokens: int) -> Self:
        """Compute the prompt's KV cache."""
        self.kv_weights, self.cached_tokens = weights, cached_tokens
        if self.request.scores_prompt:
            whole = policy.score(self.request.input_ids, weights)
            self.prompt_logprobs = whole[self.request.logprob_start_len :]
        return self

    def decode(self, policy: Policy, label: str, weights: str) -> None:
        """Make one token under the weights of now, and end if that was the last one."""
        if (label, weights) not in self._answers:
            self._answers[label, weights] = policy.answer(self.request.ask(label, weights))
        answer = self._answers[label, weights]
        total = min(len(answer.token_ids), self.request.max_new_tokens)
        made = len(self.token_ids)
        if made < total:
            self._append(answer, label)
            made += 1
        if self.to_abort:
            self.ending = Ending.ABORTED
        elif made >= total:
            whole = answer.stopped and made == len(answer.token_ids)
            self.ending = Ending.STOP if whole else Ending.LENGTH

    def _append(self, answer: Answer, label: str) -> None:
        index = len(self.token_ids)
        self.token_ids.append(answer.token_ids[index])
        self.logprobs.append(answer.logprobs[index])
        self.text = answer.text[: len(answer.text) * (index + 1) // len(answer.token_ids)]
        if self.spans and self.spans[-1].version == label:
            self.spans[-1].end = index + 1
        else:
            self.spans.append(Span(version=label, start=index, end=index + 1))
