"""The API's answers, as far as a person is shown them.

Owns: what is read of each answer. Never asks for one, and never changes what --json prints. Invariant: a field the API
adds is ignored, a field that is missing here or has another type is refused, so that a table never guesses.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from scheduler.core.errors import PilotCommitError
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.outlook import Bound
from scheduler.core.run import RunConfig
from scheduler.core.types import Stage, Verdict

AnswerT = TypeVar("AnswerT")


def read(answer: object, kind: type[AnswerT]) -> AnswerT:
    """What is shown of an answer; raises PilotCommitError for one of another version of the API."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as exc:
        raise PilotCommitError(
            f"the scheduler's answer is not understood ({exc}): use the pilotcommit version that it runs, or --json"
        ) from exc


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool."""

    name: str
    tokenizer: str
    reward: str
    max_prompt_tokens: int
    num_prompts: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A line of prompts that was refused."""

    line: int
    id: str | None
    reason: str


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines sent to a pool."""

    added: int
    unchanged: int
    refused: tuple[Refusal, ...]
    more_refused: int = 0


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that was not stored."""

    line: int
    prompt_id: str
    text: str
    answer: str
    num_tokens: int
    metadata: Mapping[str, str]


class Previewed(msgspec.Struct, frozen=True, kw_only=True):
    """What the model would see of lines that were not stored."""

    prompts: tuple[Preview, ...]
    refused: tuple[Refusal, ...]


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has spent and reserved."""

    rollouts: int
    tokens: int
    reserved_rollouts: int
    reserved_tokens: int


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands in the queue."""

    position: int
    behind: tuple[str, ...]


class PoolOfRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of the pools of a run, with what was spent on it."""

    name: str
    weight: float
    part: float
    claimed: int
    forfeited: int
    claimable: int
    epoch: int | None
    considered: int
    skip_rates: Mapping[Verdict, float]
    rollouts: int
    tokens: int
    pilot_success_rate: float | None

    @property
    def skip_rate(self) -> float | None:
        """Prompts considered and not committed ÷ prompts considered; None before the first."""
        return sum(self.skip_rates.values()) if self.skip_rates else None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment."""

    run_id: str
    pool: str
    pools: tuple[PoolOfRun, ...]
    allocator: str
    state: RunState
    reason: str
    waiting_for: str
    queue: Queued | None
    step: int
    checkpointed_step: int
    version: int
    live_version: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    spend: Spend
    skip_rates: Mapping[Verdict, float]
    pilot_success_rate: float | None
    prompts: Mapping[PromptState, int]
    config: RunConfig

    @property
    def skip_rate(self) -> float | None:
        """Prompts considered and not committed ÷ prompts considered; None before the first."""
        return sum(self.skip_rates.values()) if self.skip_rates else None

    def worked_s(self, now: float) -> float | None:
        """Seconds from its first claim to its end, or to now; None before the first."""
        return None if self.started_at is None else max(0.0, (self.ended_at or now) - self.started_at)


class PoolPart(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's part in a run."""

    name: str
    weight: float
    part: float
    prompts: int


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would come to."""

    prompts: int
    pools: tuple[PoolPart, ...]
    held_out: int
    group_size: int
    bounds: tuple[Bound, ...]
    steps: int | None
    most_rollouts: int | None
    most_tokens: int | None
    eval_rollouts: int | None
    config: RunConfig


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one stage."""

    attempts: int
    tokens: int
    prompt_tokens: int
    open: Mapping[OpenState, int]
    outcomes: Mapping[Outcome, int]


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every attempt."""

    balanced: bool
    stages: Mapping[Stage, StageLine]
    spent_rollouts: int
    spent_tokens: int
    reserved_rollouts: int
    reserved_tokens: int
    verdicts: Mapping[str, int]
    """Visits by how they ended: a verdict, or what came in between."""
    reasons: Mapping[str, int]
    """By verdict:reason."""
    passed_over: Mapping[str, int]
    """By verdict."""
    incomplete: Mapping[str, int]
    """Groups that some attempts gave no rollout for, by what became of them."""
    recalled: Mapping[str, int]
    """Attempts called back, by reason."""
    breaker_trips: Mapping[str, int]
    """By class of failure."""
    groups_trained: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a prompt's history."""

    at: float
    version: int
    what: str
    reason: str
    pilots: int
    correct: int
    group_id: str
    step: int | None
    visit_id: str


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt within a run."""

    prompt_id: str
    state: PromptState
    next_version: int | None
    visits: int
    success_rate: float | None
    informativeness: float | None
    last_verdict: str | None
    reason: str
    num_pilots: int
    num_commits: int
    tokens_per_rollout: float
    history: tuple[Event, ...]
    """Newest first."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server of the fleet."""

    server_id: str
    url: str
    standing: str
    state: str
    version: int
    in_flight: int
    capacity: int
    reason: str
    labels: Mapping[str, str]
    run: str
    warnings: tuple[str, ...]


class RefusedServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server behind a gateway that was not added."""

    url: str
    reason: str


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the servers behind a gateway."""

    added: tuple[Server, ...]
    present: tuple[Server, ...]
    refused: tuple[RefusedServer, ...]


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """One weight version."""

    version: int
    state: str
    step: int
    path: str
    announced_at: float
    push_s: float | None
    spent_rollouts: int
    spent_tokens: int
    stats: Mapping[str, float]
    """What the learner measured in its step, by name."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one prompt's attempts said."""

    correct: int
    judged: int
    probability: float | None = None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation."""

    evaluation_id: str
    purpose: str
    pool: str
    state: str
    reason: str
    version: int | None
    step: int
    num_prompts: int
    num_rollouts: int
    measure: EvaluationMeasure
    correct: int
    judged: int
    accuracy: float | None
    results: Mapping[str, Measured]
