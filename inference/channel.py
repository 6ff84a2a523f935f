"""Calls to one SGLang server.

Owns: the connections, the bearer key and the clock of every call. Never retries and never reads an answer. Invariant:
every call ends, with an answer or an InferenceError, within its own total time: a paused server never answers.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from inference.connections import Connections
from scheduler.core.errors import InferenceError, ServerUnavailable

_KEEPALIVE_S = 3.0
"""Below uvicorn's own 5 s: a connection that the server is about to close is never used again."""

_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


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
    ) -> None:
        """`no_answer` is what to raise when a request may have reached the server and nothing came back."""
        self._no_answer = no_answer
        self._connect_timeout_s = connect_timeout_s
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            transport=transport or Connections(max_connections=max_connections, keepalive_s=_KEEPALIVE_S),
            # A proxy of the environment is meant for the outside, never for the fleet.
            trust_env=False,
        )

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
        timeout = httpx.Timeout(timeout_s, connect=min(self._connect_timeout_s, timeout_s))
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.request(
                    method,
                    path,
                    content=body,
                    params=query,
                    headers={"Content-Type": "application/json"} if body is not None else None,
                    timeout=timeout,
                )
        except _NOTHING_SENT as exc:
            raise ServerUnavailable(f"{method} {path}: cannot reach the server: {_reason(exc)}") from exc
        except (httpx.TimeoutException, TimeoutError) as exc:
            raise self._no_answer(f"{method} {path}: no answer within {timeout_s:g} s") from exc
        except httpx.HTTPError as exc:
            raise self._no_answer(f"{method} {path}: the connection broke: {_reason(exc)}") from exc
        return Answer(status=response.status_code, body=response.content)

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail."""
        await self._http.aclose()


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
