"""The values every part of the service passes around.

Owns: completions, rollouts, groups and the closed sets that name them. Never decides anything and never does I/O.
Invariant: every value is frozen; token ids and log-probs of a completion have the same length, and its version spans
cover exactly its tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.packed import Logprobs, TokenIds


class Stage(StrEnum):
    """What an attempt is asked for."""

    PILOT = "pilot"
    """The first small set of rollouts of a visit, which settles the verdict."""
    COMMIT = "commit"
    """The rest of the budget spent on a prompt whose rewards vary."""
    EVAL = "eval"
    """Measures the policy on held-out prompts; never trained on, with a budget line of its own."""


class Verdict(StrEnum):
    """How a visit to a prompt is judged: exactly one per visit."""

    COMMIT = "commit"
    """Its rewards vary: worth a whole group."""
    SKIP = "skip"
    """Too easy now: returns in normal order."""
    DEFER = "defer"
    """Too hard now: returns after a number of weight versions."""
    EVICT = "evict"
    """Solved: returns after a long and growing interval, or never."""


class FinishReason(StrEnum):
    """Why a server stopped generating."""

    STOP = "stop"
    """A stop string or stop token was produced."""
    LENGTH = "length"
    """`max_new_tokens` was reached."""
    ABORT = "abort"
    """The request was aborted; its tokens are partial and never trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSpan:
    """The half-open range of output tokens [start, end) sampled under one weight version."""

    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a server returned for one attempt."""

    rid: str
    """The attempt's own request id."""
    token_ids: TokenIds
    """Generated token ids; a matched stop token is included."""
    logprobs: Logprobs
    """Behaviour log-prob of each generated token in nats, at the sampling temperature over the full vocabulary."""
    text: str
    """Generated text without the stop string."""
    finish_reason: FinishReason
    prompt_tokens: int
    spans: tuple[VersionSpan, ...]
    """Weight versions behind the tokens, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a reward function said of one completion."""

    reward: float
    """The shaped reward used for training."""
    correct: bool
    """Whether the answer is right: what verdicts are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A completion with its reward."""

    rid: str
    stage: Stage
    token_ids: TokenIds
    logprobs: Logprobs
    finish_reason: FinishReason
    spans: tuple[VersionSpan, ...]
    reward: float
    correct: bool
    text: str = ""
    masked: bool = False
    """It counts for nothing in training: its tokens are not trained on, and its reward moves no baseline."""

    @property
    def oldest_version(self) -> int:
        """The oldest weight version behind any of its tokens."""
        return min(span.version for span in self.spans)

    @classmethod
    def judged(cls, completion: Completion, stage: Stage, judgement: Judgement) -> "Rollout":
        """Join a completion with its judgement."""
        return cls(
            rid=completion.rid,
            stage=stage,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            finish_reason=completion.finish_reason,
            spans=completion.spans,
            reward=judgement.reward,
            correct=judgement.correct,
            text=completion.text,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All rollouts of one prompt that are trained together: the union of its pilots and commits."""

    group_id: str
    prompt_id: str
    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    selection_probability: float = 1.0
    """Probability with which the allocator committed this prompt given its pilots, in (0, 1]."""

    @property
    def oldest_version(self) -> int:
        """A group is as stale as its oldest token."""
        return min(rollout.oldest_version for rollout in self.rollouts)

    @property
    def trained(self) -> tuple[Rollout, ...]:
        """The rollouts that count in training."""
        return tuple(rollout for rollout in self.rollouts if not rollout.masked)

    @property
    def num_tokens(self) -> int:
        """Generated tokens of the rollouts that count in training."""
        return sum(len(rollout.token_ids) for rollout in self.trained)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How completions are sampled; every field is sent, so that a server's own defaults never apply."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The task submitted: what is sent to a server, and what its answer is judged against."""

    prompt_id: str
    input_ids: tuple[int, ...]
    """Token ids of the tokenizer its pool names."""
    text: str = ""
    """The text that was tokenised, for people to read."""
    answer: str = ""
    """The reference answer that the reward compares with."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Passed to the reward as it is."""
