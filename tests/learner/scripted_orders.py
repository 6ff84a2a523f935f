"""A scheduler that follows a script, as far as a learner that broadcasts meets it."""

import asyncio
from dataclasses import dataclass, field

from scheduler.core.broadcast import BroadcastOffer, BroadcastOrder, Rendezvous


@dataclass
class ScriptedOrders:
    """A scheduler that gives these orders, one after the other, and ends a round when it is told to."""

    orders: asyncio.Queue[BroadcastOrder | Exception] = field(default_factory=asyncio.Queue)
    offers: list[BroadcastOffer] = field(default_factory=list)
    met: asyncio.Queue[Rendezvous] = field(default_factory=asyncio.Queue)
    """Where the learner listened when an order was taken."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the learner has asked for an order."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def offer_broadcast(self, *, incarnation: str, offer: BroadcastOffer) -> None:
        self.offers.append(offer)

    async def broadcast_order(self, *, incarnation: str, rendezvous: Rendezvous) -> BroadcastOrder | None:
        self.asked.set()
        order = await self.orders.get()
        if isinstance(order, Exception):
            raise order
        self.over.clear()
        self.met.put_nowait(rendezvous)
        return order

    async def is_broadcast_over(self, *, incarnation: str, group: str) -> bool:
        await self.over.wait()
        return True
