"""The API's answer about a prompt's completions, as far as a person is shown it.

Owns: what is read of it. Invariant: as of the other answers: what is missing is refused, so that a table never guesses.
"""

import msgspec

from scheduler.cli.explanation_answers import Ending


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt with what it answered."""

    rid: str
    stage: str
    status: str
    oldest_version: int | None
    newest_version: int | None
    tokens: int
    reward: float | None
    correct: bool | None
    finish_reason: str | None
    reason: str
    text: str | None
    chars: int | None


class VisitCompletions(msgspec.Struct, frozen=True, kw_only=True):
    """One visit with its completions."""

    visit_id: str
    status: str | None
    kept: bool
    recorded: bool
    at: float | None
    version: int | None
    verdict: str | None
    reason: str | None
    pilots: int | None
    correct: int | None
    group_ending: Ending | None
    completions: tuple[Completion, ...]


class PromptContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt asks."""

    prompt_id: str
    text: str
    answer: str
    num_tokens: int


class PromptCompletions(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with some of its visits, newest first."""

    prompt: PromptContent
    num_visits: int
    next_offset: int | None
    visits: tuple[VisitCompletions, ...]
