"""Routes of explanations: what happened to a run, a prompt, a group or a rollout."""

import time
from typing import Annotated

from fastapi import APIRouter, Query

from scheduler.api.explanation_responses import (
    Explanation,
    GroupExplanation,
    PromptExplanation,
    RolloutExplanation,
    RunExplanation,
    UnsolvedPrompts,
    group_explanation,
    rollout_explanation,
)
from scheduler.api.guard import Guard
from scheduler.core.tokens import Scope
from scheduler.explanations import Explanations, PromptStory, VisitStory
from scheduler.service import Service

_MOST = 10**9


def router(service: Service, guard: Guard) -> APIRouter:
    """Stories of a run and of what is in it; prompts never solved."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=guard.needs(Scope.READ))
    explanations = Explanations(service)
    _add_stories(routes, explanations)

    @routes.get("/{run}/unsolved", summary="Prompts never solved")
    async def unsolved(
        run: str,
        min_rollouts: Annotated[int, Query(ge=1, le=_MOST, description="Only with at least so many rollouts")] = 8,
        count: Annotated[int, Query(ge=1, le=1000)] = 20,
        offset: Annotated[int, Query(ge=0, le=_MOST, description="Leave out so many from the top")] = 0,
    ) -> UnsolvedPrompts:
        """Most rollouts first, with the reference answer: where every rollout is wrong, often that one is."""
        page, answers = await explanations.unsolved(run, min_rollouts=min_rollouts, count=count, offset=offset)
        return UnsolvedPrompts.of(page, answers)

    return routes


def _add_stories(routes: APIRouter, explanations: Explanations) -> None:
    @routes.get("/{run}/explain", summary="What happened?")
    async def explain(
        run: str,
        name: Annotated[str | None, Query(description="A prompt, a group or a rollout of it; else the run")] = None,
    ) -> Explanation:
        """The story of the run, or of what the name means in it; `kind` says which it is."""
        if name is None:
            return RunExplanation.of(await explanations.run(run, now=time.time()))
        match await explanations.named(run, name):
            case PromptStory() as story:
                return PromptExplanation.of(story)
            case VisitStory() as story:
                return group_explanation(story)
            case story, attempt:
                return rollout_explanation(story, attempt)

    @routes.get("/{run}/prompts/{prompt}/explain", summary="What happened to this prompt?")
    async def prompt(run: str, prompt: str) -> PromptExplanation:
        """What is believed of it, its visits, and why it is not claimable now."""
        return PromptExplanation.of(await explanations.prompt(run, prompt))

    @routes.get("/{run}/groups/{group}/explain", summary="What happened to this group?")
    async def group(run: str, group: str) -> GroupExplanation:
        """Its attempts with server, versions and reward, and what became of it; a visit without a group, too."""
        return group_explanation(await explanations.visit(run, group))

    @routes.get("/{run}/rollouts/{rollout}/explain", summary="What happened to this rollout?")
    async def rollout(run: str, rollout: str) -> RolloutExplanation:
        """An attempt by its request id, with its visit."""
        return rollout_explanation(*await explanations.rollout(run, rollout))
