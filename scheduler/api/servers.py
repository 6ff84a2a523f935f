"""Routes of the fleet: who is of it, and how operators change that."""

from dataclasses import asdict

from fastapi import APIRouter

from scheduler.api import server_responses
from scheduler.api.guard import Guard
from scheduler.api.server_requests import NewGateway, NewServer
from scheduler.core.tokens import Scope
from scheduler.fleet import ServerView
from scheduler.service import Service


def router(service: Service, guard: Guard) -> APIRouter:
    """Listing, adding, draining, resuming and removing servers, while a run goes on or not."""
    routes = APIRouter(prefix="/v1/servers", tags=["servers"], dependencies=guard.needs(Scope.READ))
    operates = guard.needs(Scope.OPERATE)

    @routes.get("", summary="The fleet")
    async def servers() -> server_responses.Servers:
        """Every server, its place in the fleet, state, confirmed weight version and load."""
        return server_responses.Servers(servers=[shown(view) for view in service.fleet.view()])

    @routes.post("", status_code=201, summary="Add a server", dependencies=operates)
    async def add(request: NewServer) -> server_responses.Server:
        """It gets attempts once it has answered and holds the weights that the run wants; until then it is starting."""
        return shown(await service.roster.add(request.url, request.labels))

    @routes.post("/{server}/drain", summary="Drain a server", dependencies=operates)
    async def drain(server: str) -> server_responses.Server:
        """What it has in flight ends; it gets no attempts and no weights until it is resumed."""
        return shown(await service.roster.drain(server))

    @routes.post("/{server}/resume", summary="Undo a drain", dependencies=operates)
    async def resume(server: str) -> server_responses.Server:
        """It is given the current weights, then attempts. Undoes a removal too, as long as that has not ended."""
        return shown(await service.roster.resume(server))

    @routes.delete("/{server}", status_code=202, summary="Remove a server", dependencies=operates)
    async def remove(server: str, now: bool = False) -> server_responses.Server:
        """It is drained and leaves the fleet; with `now`, what it has in flight is lost and made again elsewhere."""
        return shown(await service.roster.remove(server, now=now))

    return routes


def gateways_router(service: Service, guard: Guard) -> APIRouter:
    """Adding the servers behind a gateway."""
    routes = APIRouter(prefix="/v1/gateways", tags=["servers"], dependencies=guard.needs(Scope.READ))

    @routes.post(
        "", status_code=201, summary="Add the servers behind a gateway", dependencies=guard.needs(Scope.OPERATE)
    )
    async def add(request: NewGateway) -> server_responses.Joined:
        """Each becomes a server of the fleet: a gateway passes on no weights and no pauses, so none is ever used."""
        joined = await service.roster.add_behind(request.url, request.labels)
        return server_responses.Joined(
            added=[shown(view) for view in joined.added],
            present=[shown(view) for view in joined.present],
            refused=[server_responses.RefusedServer(url=url, reason=why) for url, why in joined.refused.items()],
        )

    return routes


def shown(view: ServerView) -> server_responses.Server:
    """A server as the API answers it."""
    return server_responses.Server(**asdict(view))
