"""The API's answers to "what happened?", as far as a person is told them.

Owns: what is read of each. Invariant: as of the other answers: what is missing is refused, so that no story guesses.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from scheduler.cli.answers import Ledger, Prompt, Run
from scheduler.core.course import CourseEvent
from scheduler.core.ledger import OpenState
from scheduler.core.lifecycle import RunState
from scheduler.core.types import Stage


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the stories an answer is."""

    kind: Literal["run", "prompt", "group", "rollout"]


class NewestWeights(msgspec.Struct, frozen=True, kw_only=True):
    """The weight version published last."""

    version: int
    state: str
    step: int
    announced_at: float
    live_at: float | None
    push_s: float | None


class RunExplanation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="run"):
    """What happened to a run."""

    run: Run
    ledger: Ledger
    course: tuple[CourseEvent, ...]
    """Oldest first."""
    state_s: Mapping[RunState, float]
    newest_weights: NewestWeights | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt."""

    rid: str
    stage: Stage
    status: str
    server: str
    oldest_version: int | None
    newest_version: int | None
    tokens: int
    reward: float | None
    correct: bool | None
    finish_reason: str | None
    reason: str


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a visit or a group ended."""

    at: float
    version: int
    what: str
    reason: str
    step: int | None


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One visit; a group has the id of the visit it was made in."""

    visit_id: str
    prompt_id: str
    status: str
    attempts: tuple[Attempt, ...]
    ending: Ending | None
    group_ending: Ending | None
    batch_step: int | None

    @property
    def rewarded(self) -> list[Attempt]:
        """Attempts that became rollouts."""
        return [attempt for attempt in self.attempts if attempt.reward is not None]

    @property
    def is_open_group(self) -> bool:
        """Whether the learner has yet to be done with it."""
        return self.status in (OpenState.PUBLISHED, OpenState.APPLIED)


class OpenVisit(msgspec.Struct, frozen=True, kw_only=True):
    """The visit that a claimed prompt is in."""

    visit_id: str
    reserved: int
    in_flight: int
    held: int


class PromptExplanation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="prompt"):
    """What happened to a prompt in a run."""

    prompt: Prompt
    policy_version: int
    run_state: RunState
    position: int | None
    open_visit: OpenVisit | None
    visits: tuple[Visit, ...]


class GroupExplanation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="group"):
    """What happened in a visit, and to the group it became."""

    visit: Visit


class RolloutExplanation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rollout"):
    """What happened to one attempt."""

    attempt: Attempt
    visit: Visit


Explanation = RunExplanation | PromptExplanation | GroupExplanation | RolloutExplanation


class WrongAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt's last visit answered most often."""

    text: str
    count: int
    rollouts: int


class Unsolved(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt never solved."""

    prompt_id: str
    rollouts: int
    answer: str
    answered: WrongAnswer | None


class UnsolvedPrompts(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts never solved, most rollouts first."""

    total: int
    prompts: tuple[Unsolved, ...]
