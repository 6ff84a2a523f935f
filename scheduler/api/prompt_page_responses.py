"""What the API answers to those who look through a run's prompts.

Owns: the response models of pages and of the histogram, and how they are filled. Never computes.
"""

from typing import Self

from scheduler.api.response import Response
from scheduler.core.histogram import Bin
from scheduler.core.types import Verdict
from scheduler.state.prompt_pages import PromptLine, PromptPageOf


class PromptRow(Response):
    """A prompt in a run, in one line."""

    prompt_id: str
    state: str
    visits: int
    success_rate: float | None
    """Expected by its evidence; None before the first visit."""
    informativeness: float | None
    """Reward variance expected of it; None before the first visit."""
    last_verdict: Verdict | None
    reason: str
    next_version: int | None
    """Weight version at which a waiting prompt is claimable again; None is never, or that it does not wait."""
    num_rollouts: int

    @classmethod
    def of(cls, line: PromptLine) -> Self:
        """The line."""
        evidence = line.row.evidence if line.row else None
        return cls(
            prompt_id=line.prompt_id,
            state=line.state,
            visits=evidence.visits if evidence else 0,
            success_rate=evidence.belief.mean if evidence else None,
            informativeness=evidence.informativeness if evidence else None,
            last_verdict=evidence.last_verdict if evidence else None,
            reason=evidence.reason if evidence else "",
            next_version=line.row.next_version if line.row and line.state == "waiting" else None,
            num_rollouts=evidence.num_rollouts if evidence else 0,
        )


class PromptRows(Response):
    """A page of a run's prompts."""

    prompts: list[PromptRow]
    next_offset: int | None
    """Where to go on, also after a short page of a filter that matches little; None after the last prompt."""

    @classmethod
    def of(cls, page: PromptPageOf) -> Self:
        """The page."""
        return cls(prompts=[PromptRow.of(line) for line in page.lines], next_offset=page.next_offset)


class InformativenessBin(Response):
    """Prompts of about the same informativeness."""

    low: float
    high: float
    """The last bin takes everything above, too."""
    counts: dict[str, int]
    """Prompts by their last verdict; `none` has had none."""


class Informativeness(Response):
    """How informative the prompts of a run are, as of their last visits."""

    bins: list[InformativenessBin]
    visited: int
    """Prompts visited so far."""
    sampled: int
    """How many of them, chosen by chance, are in the bins."""

    @classmethod
    def of(cls, bins: tuple[Bin, ...], *, visited: int, sampled: int) -> Self:
        """The histogram."""
        return cls(
            bins=[InformativenessBin(low=found.low, high=found.high, counts=dict(found.counts)) for found in bins],
            visited=visited,
            sampled=sampled,
        )
