"""Who is of the fleet, by settings and by operators' orders.

Owns: adding, draining, resuming and removing servers, and what of it outlives this process. Never pushes weights.
Invariants: an order is in Redis before it is carried out; a server is taken out only once nothing is in flight on it.

Where settings and orders disagree, the later word counts, and an order is the later one: a server that was added is a
member though the settings do not name it, one that was removed is none though they do, until it is added again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from inference.client import ServerClient
from inference.gateway import Gateway, Worker
from scheduler.core.addresses import server_address, server_id
from scheduler.core.errors import Conflict, InferenceError, InvalidInput, NotFound
from scheduler.core.labels import ANY, Labels, checked
from scheduler.core.lifecycle import STANDING_MOVES, Standing
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.server import Server, ServerView
from scheduler.fleet.traits import PLAIN, Traits
from scheduler.state.fleet_orders import FleetOrder, FleetOrders

_STAYING = frozenset({Standing.SERVING, Standing.DRAINED})
"""Places in the fleet of servers that a run can wait for."""

log = structlog.get_logger(__name__)

Connect = Callable[[str], ServerClient]
"""A client for a server's address."""
ConnectNamed = Callable[[str], Awaitable[ServerClient]]
"""Likewise, for an address that came over the API; raises InvalidInput where it leads to where nobody is to be sent."""
ConnectGateway = Callable[[str], Awaitable[Gateway]]
"""A client for a gateway's address that came over the API; raises as `ConnectNamed`."""
Describe = Callable[[str], Traits]
"""What the settings say of a server's address; raises InvalidInput where they cannot be read any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What became of the servers behind a gateway."""

    added: tuple[ServerView, ...] = ()
    present: tuple[ServerView, ...] = ()
    """Those that were of the fleet already."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why not, by address."""


class Roster:
    """The operators' hand on the fleet."""

    def __init__(
        self,
        fleet: Fleet,
        orders: FleetOrders,
        *,
        connect: Connect,
        connect_named: ConnectNamed,
        connect_gateway: ConnectGateway,
        describe: Describe = lambda url: PLAIN,
        configured: Sequence[str] = (),
    ) -> None:
        """`configured`: addresses that the settings name; `connect_named` judges those of anybody else."""
        self._fleet = fleet
        self._orders = orders
        self._connect = connect
        self._connect_named = connect_named
        self._connect_gateway = connect_gateway
        self._describe = describe
        self._configured = frozenset(configured)
        self._ordering = asyncio.Lock()
        """One order at a time, from the look at what is there to the last step."""

    async def load(self) -> None:
        """Bring the fleet in line with settings and orders: at the start, and before a run is taken up.

        Another scheduler may have been given orders while this one waited for the run's lease.
        """
        async with self._ordering:
            orders = await self._orders.all()
            added = {url for url, order in orders.items() if order.added and order.standing is not Standing.GONE}
            for url in sorted(self._configured | added):
                await self._seat(url, orders.get(url) or FleetOrder(standing=Standing.SERVING, added=False, at=0.0))
            for server in [server for server in self._fleet.servers if server.url not in self._configured | added]:
                await self._move(server, Standing.LEAVING)
            for url in [url for url, order in orders.items() if order.standing is Standing.GONE]:
                if url not in self._configured:
                    await self._orders.forget(url)

    async def labels(self) -> list[Labels]:
        """Of every server that is to stay, by settings and orders alone.

        A scheduler that stands by has to know them, and must not touch a server that another one is seeing off.
        """
        orders = await self._orders.all()
        members = {server.url: server.traits.labels for server in self._fleet.servers}
        found = []
        for url in sorted(self._configured | {url for url, order in orders.items() if order.added}):
            order = orders.get(url)
            if order is not None and order.standing not in _STAYING:
                continue
            with suppress(InvalidInput):
                # Only of one that is no member: describing it reads the servers file and its keys.
                known = members[url] if url in members else self._traits(url, order.labels if order else ANY).labels
                found.append(known)
        return found

    async def _seat(self, url: str, order: FleetOrder) -> None:
        standing = order.standing
        server = next((server for server in self._fleet.servers if server.url == url), None)
        if standing is Standing.GONE:
            log.warning("server_removed_before", url=url, remedy="`pilotcommit server add` takes it back")
            standing = Standing.LEAVING
        elif server is None:
            await self._admit(url, standing, order.labels)
        if server is not None:
            await self._move(server, standing)

    async def _admit(self, url: str, standing: Standing, labels: Labels) -> None:
        try:
            traits = self._traits(url, labels)
            client = self._connect(url) if url in self._configured else await self._connect_named(url)
            self._fleet.admit(client, standing, traits)
        except InvalidInput as error:
            # An order stays: what it names may be reachable, or allowed, the next time.
            log.warning("server_not_admitted", url=url, reason=str(error))

    def _traits(self, url: str, labels: Labels) -> Traits:
        """What is particular of a server; the labels that it was added with go over those of the settings."""
        described = self._describe(url)
        return replace(described, labels={**described.labels, **labels})

    async def _move(self, server: Server, standing: Standing) -> None:
        if (server.standing, standing) in STANDING_MOVES:
            await self._fleet.stand(server, standing)

    async def run(self) -> None:
        """See off every server that leaves; raises what ends its loop."""
        await self._fleet.attend(self._see_off, name="see-off")

    async def _see_off(self, server: Server) -> None:
        """Consumes: one server that leaves. Produces: its removal. Waits for: what it has in flight to end."""
        await server.departure()
        await self._fleet.dismiss(server)
        async with self._ordering:
            # It may have been added anew meanwhile.
            if all(member.url != server.url for member in self._fleet.servers):
                await self._note(server.url, Standing.GONE, {})

    async def add(self, url: str, labels: Labels = ANY) -> ServerView:
        """One more server; it gets nothing until it has answered and its weights are confirmed.

        Raises InvalidInput for what is no address, may not be reached or serves another model, Conflict for a member.
        """
        address = server_address(url)
        async with self._ordering:
            self._refuse_member(address)
            traits = self._traits(address, checked(labels, "labels"))
            client = await self._connect_named(address)
            try:
                found = await self._fleet.fitness(client)
                if found.unfit:
                    raise InvalidInput(f"{address} cannot serve here: {found.unfit}", field="url")
                await self._note(address, Standing.SERVING, labels)
            except BaseException:
                await client.aclose()
                raise
            return ServerView.of(self._fleet.admit(client, traits=traits, found=found))

    async def add_behind(self, gateway_url: str, labels: Labels = ANY) -> Joined:
        """Every server behind a gateway that is not of the fleet yet; asked again, those that came since.

        Raises InvalidInput for what is no gateway or has nobody behind it, and if none of them can serve here.
        """
        url = server_address(gateway_url)
        gateway = await self._connect_gateway(url)
        try:
            workers = await gateway.workers()
        except InferenceError as error:
            raise InvalidInput(str(error), field="url") from error
        finally:
            await gateway.aclose()
        if not workers:
            raise InvalidInput(f"no server is behind {url}: register them there first (POST /workers)", field="url")
        joined = Joined()
        for worker in workers:
            joined = await self._joined(joined, worker, labels)
        if not (joined.added or joined.present):
            told = "; ".join(f"{worker}: {why}" for worker, why in joined.refused.items())
            raise InvalidInput(f"no server behind {url} can serve here: {told}", field="url")
        return joined

    async def _joined(self, joined: Joined, worker: Worker, labels: Labels) -> Joined:
        try:
            address = server_address(worker.url)
            if member := next((server for server in self._fleet.servers if server.url == address), None):
                return replace(joined, present=(*joined.present, ServerView.of(member)))
            if worker.why_not:
                return replace(joined, refused={**joined.refused, address: worker.why_not})
            return replace(joined, added=(*joined.added, await self.add(address, labels)))
        except InvalidInput as error:
            return replace(joined, refused={**joined.refused, worker.url: str(error)})

    def _refuse_member(self, address: str) -> None:
        for server in self._fleet.servers:
            if server.url == address:
                remedy = "" if server.standing is Standing.SERVING else f", {server.standing}: resume it instead"
                raise Conflict(f"{address} is of the fleet already{remedy}", field="url")

    async def drain(self, server: str) -> ServerView:
        """Let what it has in flight end and send it nothing new, weights neither; raises NotFound, Conflict."""
        return await self._order(server, Standing.DRAINED)

    async def resume(self, server: str) -> ServerView:
        """Undo a drain, or a removal that has not come to its end; raises NotFound, Conflict."""
        return await self._order(server, Standing.SERVING)

    async def remove(self, server: str, *, now: bool) -> ServerView:
        """Drain a server, then take it out; `now` loses what it has in flight. Raises NotFound."""
        async with self._ordering:
            found = self._found(server)
            await self._note(found.url, Standing.LEAVING, found.traits.labels)
            await self._move(found, Standing.LEAVING)
            if now:
                await self._fleet.cut(found)
            return ServerView.of(found)

    async def _order(self, server: str, standing: Standing) -> ServerView:
        async with self._ordering:
            found = self._found(server)
            if (found.standing, standing) not in STANDING_MOVES and found.standing is not standing:
                raise Conflict(f"{found.url} is {found.standing}: it cannot become {standing}, resume it first")
            await self._note(found.url, standing, found.traits.labels)
            await self._move(found, standing)
            return ServerView.of(found)

    def _found(self, server: str) -> Server:
        """A member by its id; raises NotFound."""
        for member in self._fleet.servers:
            if server_id(member.url) == server and member.standing is not Standing.GONE:
                return member
        raise NotFound(f"there is no server {server}: `pilotcommit server list` has their ids", field="server")

    async def _note(self, url: str, standing: Standing, labels: Labels) -> None:
        """Write where a server is to stand; nothing is kept where the settings alone say so."""
        by_settings = Standing.SERVING if url in self._configured else Standing.GONE
        own = {} if standing is Standing.GONE else self._beyond_settings(url, labels)
        if standing is by_settings and not own:
            await self._orders.forget(url)
        else:
            order = FleetOrder(standing=standing, added=url not in self._configured, at=time.time(), labels=own)
            await self._orders.put(url, order)

    def _beyond_settings(self, url: str, labels: Labels) -> Labels:
        described = self._describe(url).labels
        return {name: value for name, value in labels.items() if described.get(name) != value}
