"""Which servers the attempts of a prompt prefer.

Owns: the order of servers for a key, and remembering it for the keys of the moment. Never looks at how full a server
is. Invariant: a server that comes or goes moves the keys of its own and no others.
"""

import hashlib
from collections.abc import Sequence

from scheduler.fleet.server import Server

_REMEMBERED = 4096
"""Keys: more than there are prompts in their visits at once."""


class Preferences:
    """The orders of one fleet, by key."""

    def __init__(self, servers: Sequence[Server]) -> None:
        """`servers` is the fleet's own list: what joins or leaves it is noticed."""
        self._servers = servers
        self._ordered: list[Server] = []
        """The servers that what is remembered is of."""
        self._orders: dict[str, Sequence[Server]] = {}

    def of(self, key: str) -> Sequence[Server]:
        """All servers, first the one that the key rates highest; without a key, as they come."""
        if not key:
            return self._servers
        if self._ordered != self._servers:
            self._ordered = list(self._servers)
            self._orders.clear()
        if key not in self._orders:
            if len(self._orders) >= _REMEMBERED:
                del self._orders[next(iter(self._orders))]
            self._orders[key] = preference(self._servers, key)
        return self._orders[key]


def preference(servers: Sequence[Server], key: str) -> list[Server]:
    """Servers by how highly the key rates them (rendezvous hashing: Thaler and Ravishankar, IEEE/ACM Transactions on
    Networking 6 (1), 1998).
    """
    # Not a checksum: those are linear, and a key would rate two servers alike for every other key.
    ratings = {server: hashlib.blake2b(f"{server.url} {key}".encode(), digest_size=8).digest() for server in servers}
    return sorted(servers, key=ratings.__getitem__, reverse=True)
