"""A prompt's completions, visit by visit, put together from what is kept of them.

Owns: which facts belong to a visit and where a page of visits ends. Never words an answer. Invariant: a completion that
is not kept any more is absent and its visit says so, never an empty text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.types import Prompt
from scheduler.explanations import Explanations, VisitStory
from scheduler.service import Service
from scheduler.state.completions import CompletionStore, Texts
from scheduler.state.keys import RunKeys
from scheduler.state.row import Event
from scheduler.state.run_pools import RunPools


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitCompletions:
    """One visit to a prompt with what its rollouts answered."""

    visit_id: str
    event: Event | None
    """How the prompt's history tells of it; None while it is open."""
    story: VisitStory | None
    """None for a visit that is not recorded any more."""
    texts: Texts | None
    """None for completions that are not kept, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCompletions:
    """A page of a prompt's visits."""

    prompt: Prompt
    visits: tuple[VisitCompletions, ...]
    """Newest first."""
    num_visits: int
    """All that the prompt's history tells of, and the open one."""
    next_offset: int | None
    """Where the next page begins; None after the last."""


class Completions:
    """Answers what a prompt's rollouts said, whether or not an engine is at work."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._explanations = Explanations(service)

    async def of_prompt(self, run_id: str, prompt_id: str, *, count: int, offset: int) -> PromptCompletions:
        """`count` visits at most; raises NotFound with near names."""
        found = await self._explanations.prompt(run_id, prompt_id)
        record = await self._service.runs.get(run_id)
        [prompt] = await RunPools(self._service.redis, record.config.mixture).prompts([prompt_id])
        events: dict[str, Event | None] = {found.open_visit.visit_id: None} if found.open_visit else {}
        for event in found.prompt.history:
            if event.visit_id:
                events.setdefault(event.visit_id, event)
        names = list(events)[offset : offset + count]
        stories: Mapping[str, VisitStory] = {visit.visit_id: visit for visit in found.visits}
        texts = await CompletionStore(self._service.redis, RunKeys(run_id)).many(names)
        return PromptCompletions(
            prompt=prompt,
            visits=tuple(
                VisitCompletions(visit_id=name, event=events[name], story=stories.get(name), texts=texts.get(name))
                for name in names
            ),
            num_visits=len(events),
            next_offset=offset + count if offset + count < len(events) else None,
        )
