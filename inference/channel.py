"""Calls to one SGLang server.

Owns: the connections, the bearer key and the clock of every call. Never retries and never reads an answer. Invariant:
every call ends, with an answer or an InferenceError, within its own total time: a paused server never answers.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from inference.connections import Connections
from inference.pinned import Pinned
from scheduler.core.errors import InferenceError, ServerUnavailable

_KEEPALIVE_S = 3.0
"""Below uvicorn's own 5 s: a connection that the server is about to close is never used again."""

MAX_ANSWER_BYTES = 64 << 20
"""Room for the log-probs of a million tokens."""

_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status and a body."""

    status: int
    body: bytes


class Channel:
    """Calls to one server, opened lazily; `aclose` ends it."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        max_connections: int,
        connect_timeout_s: float,
        no_answer: type[InferenceError],
        transport: httpx.AsyncBaseTransport | None,
        tls: ssl.SSLContext | None = None,
        address: str | None = None,
        settings: str = "PILOTCOMMIT_SERVER",
    ) -> None:
        """`no_answer` is what to raise when a request may have reached the server and nothing came back.

        `address` is where to connect, whatever the name in the URL resolves to by then. `settings` is how the variables
        begin that say how such a server is trusted.
        """
        self._settings = settings
        self._no_answer = no_answer
        self._key = key.encode() if key else b""
        self._connect_timeout_s = connect_timeout_s
        connections = transport or Connections(max_connections=max_connections, keepalive_s=_KEEPALIVE_S, tls=tls)
        # The client of httpx would look for proxies, redirects, cookies and encodings, at twice the cost of a call.
        self._transport = Pinned(connections, address) if address else connections
        self._base_url = httpx.URL(base_url)
        host = {"Host": self._base_url.netloc.decode()}
        self._headers = httpx.Headers(host | ({"Authorization": f"Bearer {key}"} if key else {}))
        self._json_headers = httpx.Headers({**self._headers, "Content-Type": "application/json"})
        self._urls = dict[str, httpx.URL]()
        self._closed = False

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """Send one request and read the whole answer within `timeout_s`.

        Raises ServerUnavailable if it was certainly not sent, the channel's `no_answer` if it may have been.
        """
        if self._closed:
            raise ServerUnavailable(f"{method} {path}: this server is not asked any more")
        request = httpx.Request(
            method,
            self._url(path),
            params=query,
            headers=self._headers if body is None else self._json_headers,
            content=body,
            extensions={"timeout": {"pool": timeout_s, "connect": min(self._connect_timeout_s, timeout_s)}},
        )
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._transport.handle_async_request(request)
                try:
                    content = await self._whole(path, response)
                finally:
                    await response.aclose()
        except _NOTHING_SENT as exc:
            raise ServerUnavailable(f"{method} {path}: cannot reach the server: {self._reason(exc)}") from exc
        except (httpx.TimeoutException, TimeoutError) as exc:
            raise self._no_answer(f"{method} {path}: no answer within {timeout_s:g} s") from exc
        except httpx.HTTPError as exc:
            raise self._no_answer(f"{method} {path}: the connection broke: {self._reason(exc)}") from exc
        if self._key and self._key in content:
            # Whatever a server says may be logged and shown, and some say what they were sent.
            content = content.replace(self._key, b"[key]")
        return Answer(status=response.status_code, body=content)

    def _url(self, path: str) -> httpx.URL:
        """Of one of the few paths that a server is asked."""
        known = self._urls.get(path)
        if known is None:
            known = self._urls[path] = self._base_url.copy_with(path=self._base_url.path.rstrip("/") + path)
        return known

    async def _whole(self, path: str, response: httpx.Response) -> bytes:
        """The body, as long as it may be; a server that goes on and on is given up."""
        assert isinstance(response.stream, httpx.AsyncByteStream)
        parts, size = list[bytes](), 0
        async for part in response.stream:
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise self._no_answer(f"{path}: the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        return b"".join(parts)

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail."""
        self._closed = True
        await self._transport.aclose()

    def _reason(self, exc: httpx.HTTPError) -> str:
        said = str(exc) or type(exc).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return f"{said}; is the authority that signed its certificate in {self._settings}_CA_FILE?"
        if isinstance(exc, httpx.ReadError) and exc.request.url.scheme == "https":
            # In TLS 1.3 a server that misses our certificate says so after the handshake, and most just hang up.
            return f"{said}; does it want a certificate of ours, as in {self._settings}_CERT_FILE?"
        return said
