"""Connections to one address, whatever the name in the URL resolves to.

Owns: putting the address that was checked in the place of the name. Never resolves. Invariant: the name stays what the
request and the certificate are about, so that a pinned https:// server is still verified by its name.
"""

import httpx


class Pinned(httpx.AsyncBaseTransport):
    """Another transport, with every request sent to `address`: a name that resolves to something else by then (DNS
    rebinding) changes nothing."""

    def __init__(self, transport: httpx.AsyncBaseTransport, address: str) -> None:
        self._transport = transport
        self._address = address

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; its Host header was made of the name already."""
        name = request.url.host
        request.url = request.url.copy_with(host=self._address)
        request.extensions = {**request.extensions, "sni_hostname": name}
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._transport.aclose()
