"""What the API answers to those who read completions.

Owns: the response models of completions by prompt, how they are filled, and how a long text is cut.
"""

from typing import Self

from scheduler.api.explanation_responses import EndingPage
from scheduler.api.pool_responses import PromptContent
from scheduler.api.response import Response
from scheduler.prompt_completions import PromptCompletions, VisitCompletions
from scheduler.state.records import Attempt


class CompletionPage(Response):
    """One attempt with what it answered."""

    rid: str
    stage: str
    status: str
    """Where it stands, or how it ended: as in the ledger."""
    oldest_version: int | None
    """Of the weight versions behind its tokens; None without a completion."""
    newest_version: int | None
    tokens: int
    reward: float | None
    correct: bool | None
    finish_reason: str | None
    reason: str
    """Why it has no reward."""
    text: str | None
    """What it answered; None where that is not kept (any more), and for an attempt that came to nothing."""
    chars: int | None
    """Characters of the whole text, of which the middle is left out where they are more than asked for."""

    @classmethod
    def of(cls, attempt: Attempt, text: str | None, *, most_chars: int) -> Self:
        """The attempt with its text, cut to so many characters."""
        return cls(
            rid=attempt.rid,
            stage=attempt.stage,
            status=attempt.status,
            oldest_version=attempt.oldest_version,
            newest_version=attempt.newest_version,
            tokens=attempt.tokens,
            reward=attempt.reward,
            correct=attempt.correct,
            finish_reason=attempt.finish_reason,
            reason=attempt.reason,
            text=None if text is None else shortened(text, most_chars),
            chars=None if text is None else len(text),
        )


class VisitCompletionsPage(Response):
    """One visit with its completions."""

    visit_id: str
    """Also the id of the group it became."""
    status: str | None
    """Where its rollouts stand, or what became of them: as in the ledger; None where that is not kept any more."""
    kept: bool
    """Whether its completions are: of ended visits those of the newest, see PILOTCOMMIT_COMPLETIONS_KEPT_MIB."""
    recorded: bool
    """Whether its attempts are: those of the newest ten thousand visits are."""
    at: float | None
    """When it ended, in seconds since the epoch; None while it is open, as the next four."""
    version: int | None
    verdict: str | None
    """As in the prompt's history: `published` is a commit."""
    reason: str | None
    """Why it was decided so."""
    pilots: int | None
    correct: int | None
    """Right pilots."""
    group_ending: EndingPage | None
    """None while its group is open, and if it became none."""
    completions: list[CompletionPage]
    """In the order in which they were asked for; empty where the visit is not recorded."""

    @classmethod
    def of(cls, found: VisitCompletions, *, most_chars: int) -> Self:
        """The visit."""
        event, story, texts = found.event, found.story, found.texts
        attempts = story.attempts if story else ()
        return cls(
            visit_id=found.visit_id,
            status=story.status if story else None,
            kept=texts is not None,
            recorded=story is not None,
            at=event.at if event else None,
            version=event.version if event else None,
            verdict=event.what if event else None,
            reason=event.reason if event else None,
            pilots=event.pilots if event else None,
            correct=event.correct if event else None,
            group_ending=EndingPage.of(story.group_ending if story else None),
            completions=[
                CompletionPage.of(attempt, (texts or {}).get(attempt.rid), most_chars=most_chars)
                for attempt in attempts
            ],
        )


class PromptCompletionsPage(Response):
    """A prompt with its visits and their completions."""

    prompt: PromptContent
    num_visits: int
    """All that its history tells of: the last fifty events."""
    next_offset: int | None
    """Where to go on; None after the last visit."""
    visits: list[VisitCompletionsPage]
    """Newest first."""

    @classmethod
    def of(cls, found: PromptCompletions, *, most_chars: int) -> Self:
        """The page."""
        return cls(
            prompt=PromptContent.of(found.prompt),
            num_visits=found.num_visits,
            next_offset=found.next_offset,
            visits=[VisitCompletionsPage.of(visit, most_chars=most_chars) for visit in found.visits],
        )


def shortened(text: str, most_chars: int) -> str:
    """A text of so many characters at most, by leaving out its middle: how it begins and what it comes to stay."""
    if len(text) <= most_chars:
        return text
    head = (most_chars - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most_chars - 1 - head) :]}"
