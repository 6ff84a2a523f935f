"""Resolving the URLs that come from outside.

Owns: the look-up. Never decides (`scheduler.core.reachable` does) and never connects. Invariant: what it returns was
checked, and is to be connected to as it is.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from ipaddress import ip_address

from scheduler.core.errors import InvalidInput
from scheduler.core.reachable import Address, Place, Reachable, place_of

_TIMEOUT_S = 5.0
Resolve = Callable[[Place], Awaitable[Collection[Address]]]


async def resolve(place: Place) -> Collection[Address]:
    """Every address of a host. Raises OSError or TimeoutError where there is no answer."""
    async with asyncio.timeout(_TIMEOUT_S):
        found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [ip_address(str(where[0]).partition("%")[0]) for *_, where in found]


async def destination(url: str, reachable: Reachable, *, field: str, resolver: Resolve = resolve) -> str:
    """The address to pin a client of `url` to (`ServerClient(url, …, address=…)`).

    Raises InvalidInput, naming the field, where the URL makes no sense or leads where it may not.
    """
    return (await destinations(url, reachable, field=field, resolver=resolver))[0]


async def destinations(url: str, reachable: Reachable, *, field: str, resolver: Resolve = resolve) -> tuple[str, ...]:
    """Every address that a client of `url` may be pinned to; raises InvalidInput as `destination` does."""
    place = place_of(url)
    try:
        addresses = await resolver(place)
    except (OSError, TimeoutError, UnicodeError) as exc:
        raise InvalidInput(f"{place.host} cannot be resolved: {exc or type(exc).__name__}", field=field) from exc
    return tuple(str(address) for address in reachable.check_all(place, addresses, field))
