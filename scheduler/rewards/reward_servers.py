"""The reward servers that pools name.

Owns: which addresses may be asked, which of them get the key, and a client for each. Never asks anything itself.
Invariant: the key goes to addresses that the operator has listed and nowhere else; any other address is checked by
where it leads before every connection, and connected to as checked.
"""

import ssl
from collections.abc import Collection, Sequence

import httpx

from inference.channel import Channel
from scheduler.core.errors import InvalidInput, PilotCommitError, RewardFailed, ServerUnavailable
from scheduler.core.reachable import Reachable
from scheduler.destinations import Resolve, destination, resolve
from scheduler.rewards.batching import DEFAULT, Terms
from scheduler.rewards.reward_server import Answer, RewardServer
from scheduler.rewards.spec import RewardJob

_NOTHING = Reachable()


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
        self._channels: dict[str, Channel] = {}
        self._addresses: dict[str, str | None] = {}

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
        for channel in self._channels.values():
            await channel.aclose()

    def _server(self, url: str) -> RewardServer:
        if url not in self._servers:
            self._servers[url] = RewardServer(url, lambda: self._channel(url), self._terms)
        return self._servers[url]

    async def _channel(self, url: str) -> Channel:
        """The channel to an address; another one where its name leads elsewhere by now. Raises InvalidInput."""
        address = None if url in self._listed else await self._pinned(url)
        if url in self._channels and self._addresses[url] == address:
            return self._channels[url]
        former = self._channels.get(url)
        self._addresses[url] = address
        self._channels[url] = Channel(
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
        if former is not None:
            await former.aclose()
        return self._channels[url]

    async def _pinned(self, url: str) -> str:
        try:
            return await destination(url, self._reachable, field="reward", resolver=self._resolver)
        except InvalidInput as error:
            raise InvalidInput(
                f"the reward server {url} may not be asked: {error}; or list it in PILOTCOMMIT_REWARD_SERVERS",
                field="reward",
            ) from error
