"""What operators ordered of the fleet.

Owns: the orders, by address. Never calls a server. Invariant: there is an order for every server whose place is not
what the settings alone would say, and for no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from redis.asyncio import Redis

from scheduler.core.lifecycle import Standing
from scheduler.state.keys import FLEET_ORDERS
from scheduler.state.wire import raw, text


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOrder:
    """Where an operator wants one server."""

    standing: Standing
    added: bool
    """Whether it was added while the scheduler ran, rather than named in its settings."""
    at: float
    """When, in seconds since 1970."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those that it was added with; the settings may say more of it."""


class FleetOrders:
    """Reads and writes them."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def all(self) -> dict[str, FleetOrder]:
        """Every order, by the server's address."""
        found = await self._redis.hgetall(FLEET_ORDERS)
        return {text(url): msgspec.json.decode(raw(order), type=FleetOrder) for url, order in found.items()}

    async def put(self, url: str, order: FleetOrder) -> None:
        """Write the order for one server, over an earlier one."""
        await self._redis.hset(FLEET_ORDERS, url, msgspec.json.encode(order))

    async def forget(self, url: str) -> None:
        """The settings alone say where this server stands."""
        await self._redis.hdel(FLEET_ORDERS, url)
