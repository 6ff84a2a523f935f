"""Routes of runs: what operators ask and order."""

from typing import Annotated

from fastapi import APIRouter, Query

from scheduler.api import evaluation_responses, run_responses
from scheduler.api.dry_run_responses import DryRun
from scheduler.api.guard import Guard
from scheduler.api.profile_responses import Profile
from scheduler.api.run_requests import NewEvaluation, NewRun, RaiseBudget
from scheduler.core.allocators.imported import is_import_path
from scheduler.core.imports import Importable
from scheduler.core.run import RunConfig
from scheduler.core.tokens import Scope
from scheduler.service import Service


def router(service: Service, guard: Guard, importable: Importable) -> APIRouter:
    """Creating, watching and steering runs; their ledger, prompts and evaluations."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=guard.needs(Scope.READ))
    _add_runs(routes, service, guard, importable)
    _add_prompts(routes, service, guard)
    _add_evaluations(routes, service, guard)
    return routes


def _add_runs(routes: APIRouter, service: Service, guard: Guard, importable: Importable) -> None:
    operates = guard.needs(Scope.OPERATE)

    @routes.post("", status_code=201, summary="Queue a run", dependencies=guard.needs(Scope.SUBMIT))
    async def create(request: NewRun) -> run_responses.Run:
        """Runs that want a server in common work one after the other; those that wait are in the state queued."""
        record = await service.orders.create(_config(request, importable), request.run_id)
        return await _run(service, record.run_id)

    @routes.post("/dry-run", summary="What a run would come to", dependencies=guard.needs(Scope.SUBMIT))
    async def dry_run(request: NewRun) -> DryRun:
        """Checks what creating it would check, and answers its limits. Nothing is created."""
        return DryRun.of(await service.orders.rehearse(_config(request, importable), request.run_id))

    @routes.get("", summary="List runs")
    async def list_runs() -> run_responses.Runs:
        """All runs, oldest first."""
        return run_responses.Runs(runs=[run_responses.Run.of(view) for view in await service.views.runs()])

    @routes.get("/{run}", summary="Show a run")
    async def show(run: str) -> run_responses.Run:
        """Its state, what it waits for, its spend and skip rates."""
        return await _run(service, run)

    @routes.post("/{run}/pause", summary="Pause a run", dependencies=operates)
    async def pause(run: str) -> run_responses.Run:
        """Nothing new is claimed; what is under way finishes."""
        await service.orders.pause(run)
        return await _run(service, run)

    @routes.post("/{run}/resume", summary="Resume a paused run", dependencies=operates)
    async def resume(run: str) -> run_responses.Run:
        """Claim again."""
        await service.orders.resume(run)
        return await _run(service, run)

    @routes.post("/{run}/budget", summary="Raise a run's budget", dependencies=operates)
    async def raise_budget(run: str, request: RaiseBudget) -> run_responses.Run:
        """New limits, never lower ones, in force at once; asking again changes nothing. A run that is ending is not
        brought back."""
        await service.orders.raise_budget(run, request.budget())
        return await _run(service, run)

    @routes.post("/{run}/cancel", summary="Cancel a run", status_code=202, dependencies=operates)
    async def cancel(run: str) -> run_responses.Run:
        """What is in flight is aborted; the learner gets a while to save what it has applied."""
        await service.orders.cancel(run)
        return await _run(service, run)

    @routes.get("/{run}/profile", summary="How hard is the pool?")
    async def profile(run: str) -> Profile:
        """Of a run with mode profile, so far: a histogram of pass rates, and what its allocator would commit."""
        return Profile.of(await service.views.profile(run))

    @routes.get("/{run}/ledger", summary="What became of every attempt")
    async def ledger(run: str) -> run_responses.LedgerPage:
        """By stage, open state and outcome; with verdicts and their reasons."""
        view = await service.views.run(run)
        return run_responses.LedgerPage.of(view.ledger, view.counters)


def _add_prompts(routes: APIRouter, service: Service, guard: Guard) -> None:
    operates = guard.needs(Scope.OPERATE)

    @routes.get("/{run}/prompts/{prompt}", summary="Why was this prompt skipped?")
    async def prompt(run: str, prompt: str) -> run_responses.PromptPage:
        """Its evidence, its last verdict and why, when it returns, and its history."""
        return run_responses.PromptPage.of(await service.views.prompt(run, prompt))

    @routes.post(
        "/{run}/prompts/{prompt}/reinstate",
        summary="Make a waiting or quarantined prompt claimable",
        dependencies=operates,
    )
    async def reinstate(run: str, prompt: str) -> run_responses.PromptPage:
        """Deferred, evicted and quarantined prompts can be reinstated."""
        return run_responses.PromptPage.of(await service.orders.reinstate(run, prompt))


def _add_evaluations(routes: APIRouter, service: Service, guard: Guard) -> None:
    operates = guard.needs(Scope.OPERATE)

    @routes.post("/{run}/evaluations", status_code=202, summary="Ask for an evaluation", dependencies=operates)
    async def evaluate(run: str, request: NewEvaluation) -> evaluation_responses.Evaluation:
        """The weights are not updated while it runs."""
        record = await service.orders.evaluate(
            run,
            pool=request.pool,
            num_rollouts=request.rollouts,
            version=request.version,
            measure=request.measure,
            target=request.target,
        )
        return evaluation_responses.Evaluation.of(record)

    @routes.get("/{run}/evaluations", summary="List evaluations")
    async def list_evaluations(
        run: str, results: Annotated[bool, Query(description="Whether to answer results by prompt")] = True
    ) -> evaluation_responses.Evaluations:
        """Oldest first, with results by prompt unless they are not wanted."""
        found = await service.views.evaluations(run)
        return evaluation_responses.Evaluations(
            evaluations=[evaluation_responses.Evaluation.of(record, results=results) for record in found]
        )

    @routes.get("/{run}/evaluations/{evaluation}", summary="Show an evaluation")
    async def show_evaluation(run: str, evaluation: str) -> evaluation_responses.Evaluation:
        """One evaluation with results by prompt."""
        return evaluation_responses.Evaluation.of(await service.views.evaluation(run, evaluation))


def _config(request: NewRun, importable: Importable) -> RunConfig:
    config = request.config()
    if is_import_path(config.allocator):
        importable.check(config.allocator, "allocator")
    return config


async def _run(service: Service, run_id: str) -> run_responses.Run:
    return run_responses.Run.of(await service.views.run(run_id))
