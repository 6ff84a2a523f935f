"""The reward servers that pools name.

Owns: which addresses may be asked, which of them get the key, and a client for each. Never asks anything itself.
Invariant: the key goes to addresses that the operator has listed and nowhere else; any other address is checked by
where it leads before every connection, and connected to as checked.
"""

import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from inference.channel import Channel
from scheduler.core.errors import InferenceError, InvalidInput, PilotCommitError, RewardFailed, ServerUnavailable
from scheduler.core.reachable import Address, Place, Reachable
from scheduler.destinations import Resolve, destinations, resolve
from scheduler.rewards.batching import DEFAULT, Terms
from scheduler.rewards.reward_server import Answer, RewardServer
from scheduler.rewards.spec import RewardJob

_NOTHING = Reachable()


@dataclass(slots=True, kw_only=True)
class _Line:
    """One channel, and where it leads."""

    channel: Channel
    address: str | None
    num_requests: int = 0
    """In flight."""
    is_down: bool = False
    """The last request that ended had no answer."""


class RewardServers:
    """Clients by address, made when they are first needed; close them with `aclose`."""

    def __init__(
        self,
        *,
        listed: Collection[str] = (),
        key: str | None = None,
        reachable: Reachable = _NOTHING,
        terms: Terms = DEFAULT,
        tls: ssl.SSLContext | None = None,
        resolver: Resolve = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`listed`: addresses of the operator's own, as `scheduler.core.addresses` spells them."""
        self._listed = frozenset(listed)
        self._key = key
        self._reachable = reachable
        self._terms = terms
        self._tls = tls
        self._resolver = resolver
        self._transport = transport
        self._servers: dict[str, RewardServer] = {}
        self._lines: dict[str, _Line] = {}
        self._former: list[_Line] = []
        """Those that still have requests in flight."""

    async def check(self, url: str) -> None:
        """Ask the server about no completion at all; raises InvalidInput, with the reason, unless it answers well."""
        try:
            await self._server(url).check()
        except InvalidInput:
            raise
        except PilotCommitError as exc:
            raise InvalidInput(f"the reward server {url}: {exc}", field="reward") from exc

    async def judge(self, url: str, jobs: Sequence[RewardJob]) -> list[Answer]:
        """The server's answers, in the order of the jobs; whatever goes wrong is a RewardFailed."""
        try:
            return await self._server(url).judge(jobs)
        except PilotCommitError as exc:
            return [RewardFailed(str(exc)) for _ in jobs]

    async def aclose(self) -> None:
        """Close every client; what is asked is answered with RewardFailed."""
        for server in self._servers.values():
            await server.aclose()
        for line in (*self._lines.values(), *self._former):
            await line.channel.aclose()

    def _server(self, url: str) -> RewardServer:
        if url not in self._servers:
            self._servers[url] = RewardServer(url, lambda: self._channel(url), self._terms)
        return self._servers[url]

    @asynccontextmanager
    async def _channel(self, url: str) -> AsyncIterator[Channel]:
        """The channel to an address, for one request. Raises InvalidInput, or ServerUnavailable if there is no knowing.

        It is another one where the name leads elsewhere by now; the former is closed when its last request has ended.
        """
        line = await self._line(url)
        line.num_requests += 1
        try:
            await self._close_former()
            yield line.channel
            line.is_down = False
        except InferenceError:
            line.is_down = True
            raise
        finally:
            line.num_requests -= 1
            await self._close_former()

    async def _line(self, url: str) -> _Line:
        address = None if url in self._listed else await self._pinned(url)
        former = self._lines.get(url)
        if former is not None:
            if former.address == address:
                return former
            self._former.append(former)
        channel = Channel(
            url,
            key=self._key if url in self._listed else None,
            max_connections=self._terms.requests + 1,
            connect_timeout_s=self._terms.connect_s,
            no_answer=ServerUnavailable,
            transport=self._transport,
            tls=self._tls,
            address=address,
            settings="PILOTCOMMIT_REWARD_SERVER",
        )
        self._lines[url] = _Line(channel=channel, address=address)
        return self._lines[url]

    async def _close_former(self) -> None:
        idle = [line for line in self._former if not line.num_requests]
        self._former = [line for line in self._former if line.num_requests]
        for line in idle:
            await line.channel.aclose()

    async def _pinned(self, url: str) -> str:
        """The address in use while the name still has it; the next one after no answer came from there."""
        try:
            found = await destinations(url, self._reachable, field="reward", resolver=self._resolve)
        except InvalidInput as error:
            raise InvalidInput(
                f"the reward server {url} may not be asked: {error}; or list it in PILOTCOMMIT_REWARD_SERVERS",
                field="reward",
            ) from error
        line = self._lines.get(url)
        if line is None or line.address not in found:
            return found[0]
        return found[(found.index(line.address) + line.is_down) % len(found)]

    async def _resolve(self, place: Place) -> Collection[Address]:
        """A name server that does not answer says nothing of where a name leads: asked again, it may."""
        try:
            return await self._resolver(place)
        except (OSError, TimeoutError) as exc:
            raise ServerUnavailable(f"{place.host} cannot be resolved: {exc or type(exc).__name__}") from exc
