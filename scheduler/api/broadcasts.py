"""Routes of a learner that broadcasts its weights: it offers, asks what to do, and asks whether that is over."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path

from scheduler.api.guard import Guard
from scheduler.api.learner_requests import AskOrder, AskRound, OfferBroadcast
from scheduler.api.learner_responses import Order, Orders, Round
from scheduler.core.tokens import Scope
from scheduler.service import Service


def router(service: Service, guard: Guard) -> APIRouter:
    """The dialogue of a broadcast; each answer takes a heartbeat at most."""
    learns = guard.needs(Scope.LEARN)
    routes = APIRouter(prefix="/v1/runs", tags=["learners"], dependencies=learns)

    @routes.post("/{run}/broadcaster", status_code=204, summary="Offer weights by broadcast")
    async def offer(run: str, request: OfferBroadcast) -> None:
        """From now on servers get versions by broadcast where they can, else from disk. Offering again is harmless."""
        await service.learner_desk.offer_broadcast(run, incarnation=request.incarnation, offer=request.offer())

    @routes.post("/{run}/broadcasts", summary="Wait for an order to broadcast")
    async def order(run: str, request: AskOrder) -> Orders:
        """Ask again where there was none. Whoever asks is listening at its address already."""
        found = await service.learner_desk.broadcast_order(
            run, incarnation=request.incarnation, rendezvous=request.rendezvous()
        )
        return Orders(order=None if found is None else Order(**asdict(found)))

    @routes.post("/{run}/broadcasts/{group}", summary="Wait for the end of a broadcast")
    async def over(
        run: str, group: Annotated[str, Path(description="The group of the order")], request: AskRound
    ) -> Round:
        """When it is over, whether well or not, the learner drops the group at once; servers may be waiting in it."""
        return Round(
            over=await service.learner_desk.is_broadcast_over(run, incarnation=request.incarnation, group=group)
        )

    return routes
