"""Routes of operations: liveness, readiness, metrics."""

import time
from importlib.metadata import version

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from scheduler import metrics
from scheduler.api import operation_responses
from scheduler.api.guard import Guard
from scheduler.api.problems import problem
from scheduler.core.tokens import Scope
from scheduler.service import Service


def router(service: Service, guard: Guard) -> APIRouter:
    """What orchestrators, Prometheus and operators ask."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/healthz", summary="Liveness")
    async def healthz() -> operation_responses.Health:
        """The process answers."""
        return operation_responses.Health(status="alive", version=version("pilotcommit"), now=time.time())

    @routes.get("/readyz", summary="Readiness")
    async def readyz() -> JSONResponse:
        """The scheduler can work: 503 says what is missing."""
        missing = await service.conductor.is_ready()
        if missing:
            return problem(503, "Not ready", missing, kind="NotReady")
        return JSONResponse({"status": "ready"})

    @routes.get("/metrics", summary="Prometheus metrics", response_class=Response, dependencies=guard.needs(Scope.READ))
    async def page() -> Response:
        """Read from the ledger at every scrape."""
        body, content_type = await metrics.render(service)
        return Response(body, media_type=content_type)

    @routes.get("/v1/isolation", summary="How rewards are shut in", dependencies=guard.needs(Scope.READ))
    async def isolation() -> operation_responses.RewardIsolation:
        """What the system grants the processes that judge completions, and what it does not."""
        return operation_responses.RewardIsolation.of(service.rewards.isolation)

    return routes
