"""What the API answers about pools.

Owns: the response models of pools and uploads, filled from the service's values.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.core.types import Prompt
from scheduler.prompts import AddReport, PreviewedPrompt, PreviewReport, RefusedLine
from scheduler.state.pools import PoolRecord


class Pool(Response):
    """A pool."""

    name: str
    tokenizer: str
    reward: str
    max_prompt_tokens: int
    num_prompts: int
    created_at: float

    @classmethod
    def of(cls, record: PoolRecord, num_prompts: int) -> Self:
        """The pool with its size."""
        return cls(
            name=record.name,
            tokenizer=record.tokenizer,
            reward=record.reward,
            max_prompt_tokens=record.max_prompt_tokens,
            num_prompts=num_prompts,
            created_at=record.created_at,
        )


class Pools(Response):
    """All pools, by name."""

    pools: list[Pool]


class PromptContent(Response):
    """What a prompt asks."""

    prompt_id: str
    text: str
    """What was tokenised; empty where token ids were given."""
    answer: str
    num_tokens: int
    metadata: dict[str, str]

    @classmethod
    def of(cls, prompt: Prompt) -> Self:
        """The prompt as it is stored."""
        return cls(
            prompt_id=prompt.prompt_id,
            text=prompt.text,
            answer=prompt.answer,
            num_tokens=len(prompt.input_ids),
            metadata=dict(prompt.metadata),
        )


class Refusal(Response):
    """A line that was refused."""

    line: int
    id: str | None
    reason: str

    @classmethod
    def of(cls, bad: RefusedLine) -> Self:
        """The refused line."""
        return cls(line=bad.line, id=bad.id, reason=bad.reason)


class Added(Response):
    """What became of every line; the accepted ones are stored, whatever became of the others."""

    added: int
    unchanged: int
    refused: list[Refusal]
    """In order of their lines, the first ten thousand."""
    more_refused: int = 0
    """Refused lines beyond those."""

    @classmethod
    def of(cls, report: AddReport) -> Self:
        """The report."""
        refused = [Refusal.of(bad) for bad in report.refused]
        return cls(added=report.added, unchanged=report.unchanged, refused=refused, more_refused=report.more_refused)


class Preview(Response):
    """A prompt as it would be stored."""

    line: int
    prompt_id: str
    text: str
    """What the model sees: its token ids as text again, special tokens included."""
    answer: str
    num_tokens: int
    metadata: dict[str, str]

    @classmethod
    def of(cls, found: PreviewedPrompt) -> Self:
        """The prompt of a line."""
        return cls(
            line=found.line,
            prompt_id=found.prompt.prompt_id,
            text=found.seen,
            answer=found.prompt.answer,
            num_tokens=len(found.prompt.input_ids),
            metadata=dict(found.prompt.metadata),
        )


class Previewed(Response):
    """What would become of every line."""

    prompts: list[Preview]
    """In order of their lines."""
    refused: list[Refusal]
    """Likewise."""

    @classmethod
    def of(cls, report: PreviewReport) -> Self:
        """The report."""
        return cls(
            prompts=[Preview.of(found) for found in report.prompts],
            refused=[Refusal.of(bad) for bad in report.refused],
        )
