"""What the fake server answers.

Owns: the question a policy is asked, its answer, and a small language model that needs no weights. Never knows of
requests, queues or HTTP. Invariant: an answer depends on its question alone, so that a test knows what comes back.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One prompt as the model sees it."""

    input_ids: tuple[int, ...]
    label: str
    """The weight label that the server serves now."""
    weights: str
    """Fingerprint of the weights themselves: two labels may share it."""
    seed: int | None
    temperature: float
    max_new_tokens: int
    ignore_eos: bool
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model would say if nothing cut it short."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """One for each token id."""
    text: str
    """Without the stop string; a partial answer shows a proportional part of it."""
    stopped: bool = True
    """Whether the last token ended it, as a stop token does; otherwise it ends for its length."""


class Policy(Protocol):
    """The model behind the fake."""

    def answer(self, ask: Ask) -> Answer:
        """The whole answer; the server cuts it at `max_new_tokens`."""

    def score(self, input_ids: Sequence[int], weights: str) -> tuple[float, ...]:
        """Log-probs of input_ids[1:] at temperature 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BigramPolicy:
    """A language model whose next token depends on the last one and on the weights' fingerprint, and on nothing else.

    It stops at a stop token and at nothing else. Its scores are the log-probs of its answers at temperature 1.
    """

    vocab_size: int = 128

    def answer(self, ask: Ask) -> Answer:
        """Sample `max_new_tokens` tokens; the same seed and prompt give the same ones, temperature 0 the likeliest."""
        rng = random.Random(repr((ask.seed, ask.input_ids)))
        last, ids, logprobs = ask.input_ids[-1], [], []
        for _ in range(ask.max_new_tokens):
            row = _log_softmax(ask.weights, last, self.vocab_size, ask.temperature or 1.0)
            last = _draw(row, rng) if ask.temperature else max(range(len(row)), key=row.__getitem__)
            ids.append(last)
            logprobs.append(row[last])
            if last in ask.stop_token_ids:
                break
        text = "".join(chr(ord("a") + token % 26) for token in ids)
        return Answer(token_ids=tuple(ids), logprobs=tuple(logprobs), text=text, stopped=last in ask.stop_token_ids)

    def score(self, input_ids: Sequence[int], weights: str) -> tuple[float, ...]:
        """Log-probs of input_ids[1:]."""
        return tuple(
            _log_softmax(weights, last, self.vocab_size, 1.0)[token] for last, token in itertools.pairwise(input_ids)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedPolicy:
    """Answers as a test says; scores like a BigramPolicy."""

    script: Callable[[Ask], Answer]
    scorer: BigramPolicy = BigramPolicy()

    def answer(self, ask: Ask) -> Answer:
        """What the script says."""
        return self.script(ask)

    def score(self, input_ids: Sequence[int], weights: str) -> tuple[float, ...]:
        """What a BigramPolicy says."""
        return self.scorer.score(input_ids, weights)


@lru_cache(maxsize=4096)
def _log_softmax(weights: str, last: int, vocab_size: int, temperature: float) -> tuple[float, ...]:
    rng = random.Random(repr((weights, last)))
    logits = [rng.gauss(0.0, 1.0) / temperature for _ in range(vocab_size)]
    peak = max(logits)
    total = peak + math.log(sum(math.exp(logit - peak) for logit in logits))
    return tuple(logit - total for logit in logits)


def _draw(logprobs: Sequence[float], rng: random.Random) -> int:
    return rng.choices(range(len(logprobs)), weights=[math.exp(value) for value in logprobs])[0]
