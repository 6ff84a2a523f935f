"""Routes of pools and their prompts."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from scheduler.api import pool_responses
from scheduler.api.guard import Guard
from scheduler.api.pool_requests import NewPool
from scheduler.api.problems import CONTENT, problem
from scheduler.core.tokens import Scope
from scheduler.intake import Intake
from scheduler.service import Service


def router(service: Service, intake: Intake, guard: Guard) -> APIRouter:
    """POST and GET of pools, the streamed upload of prompts, and what an upload would store."""
    routes = APIRouter(prefix="/v1/pools", tags=["pools"], dependencies=guard.needs(Scope.READ))
    submits = guard.needs(Scope.SUBMIT)

    @routes.post("", status_code=201, summary="Create a pool", dependencies=submits)
    async def create(request: NewPool) -> pool_responses.Pool:
        """Creating the same pool again changes nothing; under a taken name another one is refused."""
        record = await intake.create_pool(
            request.name,
            tokenizer=request.tokenizer,
            reward=request.reward,
            max_prompt_tokens=request.max_prompt_tokens,
        )
        return pool_responses.Pool.of(record, await service.pools.size(record.name))

    @routes.get("", summary="List pools")
    async def list_pools() -> pool_responses.Pools:
        """All pools, by name."""
        return pool_responses.Pools(pools=[await _pool(service, name) for name in await service.pools.names()])

    @routes.get("/{pool}", summary="Show a pool")
    async def show(pool: str) -> pool_responses.Pool:
        """One pool with its size."""
        return await _pool(service, pool)

    @routes.get("/{pool}/prompts/{prompt}", summary="Show a prompt")
    async def prompt(pool: str, prompt: str) -> pool_responses.PromptContent:
        """What it asks, and the reference answer."""
        await service.pools.get(pool)
        [found] = await service.pools.prompts(pool, [prompt])
        return pool_responses.PromptContent.of(found)

    @routes.post(
        "/{pool}/prompts",
        summary="Add prompts",
        dependencies=submits,
        response_model=pool_responses.Added,
        responses={422: {"description": "Some lines were refused; the others are stored.", "content": CONTENT}},
        openapi_extra={"requestBody": {"content": {"application/x-ndjson": {"example": _EXAMPLE}}, "required": True}},
    )
    async def add(pool: str, request: Request) -> JSONResponse:
        """One JSON object a line: exactly one of text, messages and input_ids; id, answer and metadata as wanted.

        Adding a prompt again changes nothing. A refused line answers with its number and reason and loses nothing: the
        status is then 422, and every other line is stored.
        """
        report = pool_responses.Added.of(await intake.add_prompts(pool, request.stream()))
        if not report.refused:
            return JSONResponse(report.model_dump(exclude_defaults=True))
        first = report.refused[0]
        count = len(report.refused) + report.more_refused
        detail = f"{count} lines were refused, the others are stored; line {first.line}: {first.reason}"
        return problem(
            422, "Lines refused", detail, kind="LinesRefused", field=f"line {first.line}", **report.model_dump()
        )

    @routes.post(
        "/{pool}/preview",
        summary="Preview prompts",
        dependencies=submits,
        openapi_extra={"requestBody": {"content": {"application/x-ndjson": {"example": _EXAMPLE}}, "required": True}},
    )
    async def preview(pool: str, request: Request) -> pool_responses.Previewed:
        """What the model would see of each line, a hundred at most; nothing is stored.

        Every line is told of, and what is refused here would be refused there: the status is 200 either way.
        """
        return pool_responses.Previewed.of(await intake.preview_prompts(pool, request.stream()))

    return routes


_EXAMPLE = '{"id": "sum-1", "text": "3 + 4 =", "answer": "7"}\n{"id": "sum-2", "text": "12 - 5 =", "answer": "7"}\n'


async def _pool(service: Service, name: str) -> pool_responses.Pool:
    return pool_responses.Pool.of(await service.pools.get(name), await service.pools.size(name))
