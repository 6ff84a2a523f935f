"""Routes of completions: what the rollouts of a prompt said."""

from typing import Annotated

from fastapi import APIRouter, Query

from scheduler.api.completion_responses import PromptCompletionsPage
from scheduler.api.guard import Guard
from scheduler.core.tokens import Scope
from scheduler.prompt_completions import Completions
from scheduler.service import Service


def router(service: Service, guard: Guard) -> APIRouter:
    """The completions of a prompt, a few visits at a time."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=guard.needs(Scope.READ))
    completions = Completions(service)

    @routes.get("/{run}/prompts/{prompt}/completions", summary="What did its rollouts say?")
    async def of_prompt(
        run: str,
        prompt: str,
        count: Annotated[int, Query(ge=1, le=20, description="Visits at most")] = 5,
        offset: Annotated[int, Query(ge=0, le=1000, description="`next_offset` of the page before")] = 0,
        chars: Annotated[int, Query(ge=3, le=100_000, description="Characters of a completion at most")] = 4000,
    ) -> PromptCompletionsPage:
        """The prompt, and each visit to it, newest first: its completions with reward, versions and tokens, and why it
        was decided so. What is not kept any more says so."""
        found = await completions.of_prompt(run, prompt, count=count, offset=offset)
        return PromptCompletionsPage.of(found, most_chars=chars)

    return routes
