"""Routes of exports: a run as rows of tables."""

from typing import Annotated

from fastapi import APIRouter, Query

from scheduler.api.export_responses import ExportedPage
from scheduler.api.guard import Guard
from scheduler.core.export import ExportTable
from scheduler.core.tokens import Scope
from scheduler.exports import Exports
from scheduler.service import Service


def router(service: Service, guard: Guard) -> APIRouter:
    """Pages of the tables of a run."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=guard.needs(Scope.READ))
    exports = Exports(service)

    @routes.get("/{run}/export/{table}", summary="Export a table")
    async def export(
        run: str,
        table: ExportTable,
        after: Annotated[str, Query(max_length=200, description="`after` of the page before")] = "",
        count: Annotated[int, Query(ge=1, le=1000, description="Prompts or visits at most")] = 500,
    ) -> ExportedPage:
        """Rows of the ledger, prompts, their history, groups or completions; go on with `after` until that is null.

        `pilotcommit export` makes files of them."""
        return ExportedPage.of(await exports.page(run, table, after=after, count=count))

    return routes
