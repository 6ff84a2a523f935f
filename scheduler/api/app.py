"""The REST application.

Owns: which routers there are. Invariant: built from a service, without module state, so that tests build their own.
"""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from scheduler.api import (
    broadcasts,
    completions,
    events,
    explanations,
    exports,
    learners,
    operations,
    pools,
    problems,
    prompt_pages,
    runs,
    servers,
)
from scheduler.api.body_limit import BodyLimit
from scheduler.api.guard import Guard
from scheduler.api.pulse import Pulse
from scheduler.api.rate_limit import RateLimit
from scheduler.console.pages import PATH, Pages
from scheduler.core.imports import EVERYTHING, Importable
from scheduler.core.rate import Rate
from scheduler.intake import Intake
from scheduler.service import Service
from scheduler.token_file import TokenFile


def create_app(
    service: Service,
    *,
    tokens: TokenFile | None = None,
    importable: Importable = EVERYTHING,
    rate: Rate | None = None,
) -> FastAPI:
    """The API over a service; without tokens it is open to whoever reaches it, without a rate however often."""
    guard = Guard(tokens)
    app = FastAPI(
        title="pilotcommit",
        version=version("pilotcommit"),
        responses=dict(problems.RESPONSES),
        summary="A rollout scheduler for group-based RL: pilots, commits, an enforced budget and a ledger.",
        openapi_tags=[
            {"name": "pools", "description": "Prompts to train and to evaluate on."},
            {"name": "runs", "description": "Training jobs over a pool, with a budget and an allocator."},
            {"name": "servers", "description": "The SGLang servers that sample, and who is of the fleet."},
            {"name": "learners", "description": "For the process that trains: groups out, reports in."},
            {"name": "operations", "description": "For orchestrators, Prometheus and operators."},
        ],
    )
    problems.install(app)
    app.add_middleware(BodyLimit)
    if rate is not None:
        app.add_middleware(RateLimit, rate=rate, tokens=tokens)
    app.include_router(operations.router(service, guard))
    app.include_router(servers.router(service, guard))
    app.include_router(servers.gateways_router(service, guard))
    app.include_router(
        pools.router(service, Intake(service.pools, service.rewards, service.tokenizers, importable), guard)
    )
    app.include_router(runs.router(service, guard, importable))
    app.include_router(prompt_pages.router(service, guard))
    app.include_router(explanations.router(service, guard))
    app.include_router(completions.router(service, guard))
    app.include_router(exports.router(service, guard))
    app.include_router(learners.router(service, guard))
    app.include_router(broadcasts.router(service, guard))
    app.include_router(events.router(Pulse(service), guard))
    _add_console(app)
    return app


def _add_console(app: FastAPI) -> None:
    """Its files are public: they hold no data, and ask for a token before they can show any."""

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse(f"{PATH}/")

    app.mount(PATH, Pages(), name="console")
