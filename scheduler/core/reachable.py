"""Which addresses the scheduler may be sent to by those who use it.

Owns: the rules for URLs that come from outside. Pure: names are resolved elsewhere (`scheduler.destinations`).
Invariants: an address that is link-local, where clouds serve their credentials, is never allowed, listed or not; a name
is judged by every address it resolves to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from scheduler.core.addresses import DEFAULT_PORTS, server_address
from scheduler.core.errors import InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOCAL = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""This machine and private networks."""
_METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("100.100.100.200")})
"""Credentials of clouds that are not at a link-local address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a URL points, before any name is resolved."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """Hosts and networks that addresses from outside may name."""

    hosts: frozenset[str] = frozenset()
    """Names, in lower case: reachable at whatever address they resolve to, link-local ones apart."""
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Reachable":
        """Read names, addresses and networks; raises InvalidInput for what is none of them."""
        hosts, networks = set[str](), list[Network]()
        for entry in entries:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                if "/" in entry or ":" in entry or not entry or entry != entry.strip():
                    raise InvalidInput(f"{entry!r} is no host, address or network as in 10.0.0.0/8") from None
                hosts.add(entry.lower().rstrip("."))
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def check(self, place: Place, addresses: Iterable[Address], field: str) -> Address:
        """The address to connect to, out of all that the host resolves to; raises InvalidInput unless each is allowed.

        Whoever connects must do so to this very address: the name may resolve to another one a moment later.
        """
        return self.check_all(place, addresses, field)[0]

    def check_all(self, place: Place, addresses: Iterable[Address], field: str) -> tuple[Address, ...]:
        """Every address of the host, to connect to any of; raises InvalidInput unless each is allowed."""
        found = tuple(_plain(address) for address in addresses)
        if not found:
            raise InvalidInput(f"{place.host} resolves to no address", field=field)
        for address in found:
            self._check(place.host, address, field)
        return found

    def _check(self, host: str, address: Address, field: str) -> None:
        if address.is_link_local or address in _METADATA or address.is_multicast or address.is_unspecified:
            raise InvalidInput(f"{host} is at {address}, where no server of a fleet is: never allowed", field=field)
        if host in self.hosts or any(address in network for network in self.networks):
            return
        listed = ", ".join([*sorted(self.hosts), *map(str, self.networks)]) or "nothing"
        raise InvalidInput(
            f"{host} is at {address}: PILOTCOMMIT_REACHABLE, which the operator sets, lists {listed}", field=field
        )


def place_of(url: str) -> Place:
    """Where a URL from outside points; raises InvalidInput for one that no server has."""
    parts = urlsplit(server_address(url))
    return Place(host=(parts.hostname or "").rstrip("."), port=parts.port or DEFAULT_PORTS[parts.scheme])


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does: it is the same host."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address.sixtofour or _translated(address) or address
    return address


def _translated(address: IPv6Address) -> IPv4Address | None:
    """Of NAT64's well-known prefix."""
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in IPv6Network("64:ff9b::/96") else None
