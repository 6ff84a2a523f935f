"""Connections to one server: as many as are needed, each taken by one call at a time.

Owns: what httpx has its requests carried by, which is aiohttp (docs/decisions/0026), and telling a request that never
left from one that may have arrived. Never retries. Invariant: a call costs the same however many are open.
"""

import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from io import BytesIO

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

_WRITTEN_AT_ONCE = 1 << 20
"""Bytes; aiohttp warns of more."""
_HEADERS_OF_ITS_OWN = ("Accept", "Accept-Encoding", "User-Agent")
"""What aiohttp would add to a request."""


class Connections(httpx.AsyncBaseTransport):
    """An httpx transport with aiohttp's connection pool and parser, the connection last used first.

    A call by httpcore 1.0.9 takes three times the CPU, and its pool looks at every connection for each at every other
    (https://github.com/encode/httpcore/pull/1035). The package httpx-aiohttp 0.2.0 calls a connection that broke after
    the request was sent a ConnectTimeout: what the server may have done would count as never asked.
    """

    def __init__(self, *, max_connections: int, keepalive_s: float, tls: ssl.SSLContext | None = None) -> None:
        """`tls` None: the public authorities are trusted."""
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request over a connection of its own; raises ConnectTimeout if none is free or made in time."""
        session = self._session or self._open()
        timeout = request.extensions.get("timeout", {})
        try:
            response = await session.request(
                request.method,
                _url(str(request.url)),
                headers=CIMultiDict(
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
                ),
                data=_body(request.content),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("pool"), sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
                server_hostname=request.extensions.get("sni_hostname"),
            )
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise _translated(exc, request) from exc
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Answer(response, request), request=request
        )

    def _open(self) -> aiohttp.ClientSession:
        """Opened by the first call: aiohttp wants the loop that it is used in."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_connections,
                keepalive_timeout=self._keepalive_s,
                ssl=self._tls or httpx.create_ssl_context(trust_env=False),
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_HEADERS_OF_ITS_OWN,
        )
        return self._session

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail."""
        if self._session is not None:
            await self._session.close()


class _Answer(httpx.AsyncByteStream):
    """A body that gives its connection back when it was read, and closes it when it was not."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.content.iter_any():
                yield part
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise _translated(exc, self._request) from exc

    async def aclose(self) -> None:
        self._response.release()


def _body(content: bytes) -> bytes | BytesIO | None:
    """What aiohttp writes at once, or, where that would hold up the loop, piece by piece."""
    return BytesIO(content) if len(content) > _WRITTEN_AT_ONCE else content or None


def _translated(exc: aiohttp.ClientError | TimeoutError, request: httpx.Request) -> httpx.TransportError:
    """What httpx would have raised."""
    said = str(exc)
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("no connection in time: all are in use, or none can be made", request=request)
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(said, request=request)
        case aiohttp.InvalidURL():
            return httpx.UnsupportedProtocol(said, request=request)
        case TimeoutError():
            return httpx.ReadTimeout(said, request=request)
        case aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError(said, request=request)
        case _:
            return httpx.ReadError(said, request=request)


@lru_cache(maxsize=256)
def _url(url: str) -> URL:
    """As it is: httpx has encoded it."""
    return URL(url, encoded=True)
