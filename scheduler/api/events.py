"""The route of live updates."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from scheduler.api.guard import Guard
from scheduler.api.pulse import EVENT_STREAM, Pulse
from scheduler.core.tokens import Scope


def router(pulse: Pulse, guard: Guard) -> APIRouter:
    """Server-sent events of runs and fleet."""
    routes = APIRouter(prefix="/v1", tags=["operations"], dependencies=guard.needs(Scope.READ))

    @routes.get(
        "/events",
        summary="Live updates",
        response_class=StreamingResponse,
        responses={200: {"content": {EVENT_STREAM: {}}}},
    )
    async def events() -> StreamingResponse:
        """Server-sent events, about one a second: `run` and `servers` as their own calls answer them, whenever one has
        changed, and `trouble` while there is nothing to be had. It ends every five minutes: open it again."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(pulse.events(), media_type=EVENT_STREAM, headers=headers)

    return routes
