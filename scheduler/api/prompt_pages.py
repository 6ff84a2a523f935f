"""Routes for looking through a run's prompts."""

from typing import Annotated

from fastapi import APIRouter, Query

from scheduler.api.guard import Guard
from scheduler.api.prompt_page_responses import Informativeness, PromptRows
from scheduler.core.histogram import informativeness_histogram
from scheduler.core.lifecycle import PromptState
from scheduler.core.tokens import Scope
from scheduler.core.types import Verdict
from scheduler.service import Service
from scheduler.state.prompt_pages import Filter

_MOST = 10**9


def router(service: Service, guard: Guard) -> APIRouter:
    """Pages of prompts, and the histogram of their informativeness."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=guard.needs(Scope.READ))

    @routes.get("/{run}/prompts", summary="List prompts")
    async def prompts(
        run: str,
        state: Annotated[PromptState | None, Query(description="Only those in this state")] = None,
        verdict: Annotated[Verdict | None, Query(description="Only those whose last visit ended so")] = None,
        like: Annotated[str, Query(max_length=200, description="Only those with this in their id")] = "",
        count: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=_MOST, description="`next_offset` of the page before")] = 0,
    ) -> PromptRows:
        """In the order of claims or returns where a state is named, else of arrival.

        One page looks at four thousand prompts at most: go on at `next_offset` until that is null.
        """
        pages = await service.views.prompt_pages(run)
        wanted = Filter(state=state, verdict=verdict, like=like)
        return PromptRows.of(await pages.page(wanted, count=count, offset=offset))

    @routes.get("/{run}/informativeness", summary="How informative are the prompts?")
    async def informativeness(run: str) -> Informativeness:
        """A histogram of the informativeness table by last verdict, from two thousand of its rows at most."""
        rows, visited = await (await service.views.prompt_pages(run)).sample()
        bins = informativeness_histogram(row.evidence for row in rows)
        return Informativeness.of(bins, visited=visited, sampled=len(rows))

    return routes
