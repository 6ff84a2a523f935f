"""SGLang's gateway (`smg`, formerly sglang-router): which servers stand behind one.

Owns: the question and the reading of its answer. Never sends a gateway anything else. Invariant: a worker is named by
an address at which it takes every call itself.

A gateway passes on /generate and chat, and answers 404 for pause, continue, abort, weight updates and /model_info: who
pushes weights has to know the servers themselves.
"""

import ssl
from dataclasses import dataclass

import httpx
import msgspec

from inference.channel import Channel
from inference.protocol import decode, error_message
from scheduler.core.errors import ControlFailed

_OK = 200
_NO_KEY = 401
_TIMEOUT_S = 10.0
_SERVES_ALL = "regular"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One server behind a gateway."""

    url: str
    why_not: str = ""
    """Why it cannot be attached by itself; empty if it can."""


class _WorkerReply(msgspec.Struct, frozen=True):
    url: str
    worker_type: str = _SERVES_ALL
    connection_mode: str = "http"
    runtime_type: str = "sglang"


class _WorkersReply(msgspec.Struct, frozen=True):
    workers: tuple[_WorkerReply, ...]


class Gateway:
    """One gateway, named by its URL. Close it with `aclose`."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        tls: ssl.SSLContext | None = None,
        address: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`address` is where to connect, whatever the URL's name resolves to by then."""
        self.base_url = base_url
        self._channel = Channel(
            base_url,
            key=key,
            max_connections=1,
            connect_timeout_s=5.0,
            no_answer=ControlFailed,
            transport=transport,
            tls=tls,
            address=address,
        )

    async def workers(self) -> tuple[Worker, ...]:
        """Every server behind it, healthy or not, in the order of their addresses; raises InferenceError."""
        answer = await self._channel.call("GET", "/workers", timeout_s=_TIMEOUT_S)
        if answer.status == _NO_KEY:
            raise ControlFailed(f"{self.base_url}/workers wants another key than PILOTCOMMIT_API_KEY")
        if answer.status != _OK:
            raise ControlFailed(
                f"{self.base_url} is no gateway: /workers answered {answer.status}: {error_message(answer.body)}"
            )
        return read_workers(answer.body)

    async def aclose(self) -> None:
        """Close its connection."""
        await self._channel.aclose()


def read_workers(body: bytes) -> tuple[Worker, ...]:
    """The answer of GET /workers: ranks of one server, which it may list apart (http://host:30000@1), are one."""
    found = {}
    for reply in decode(body, _WorkersReply, ControlFailed).workers:
        url = _without_rank(reply.url)
        found[url] = Worker(url=url, why_not=_why_not(reply))
    return tuple(found[url] for url in sorted(found))


def _without_rank(url: str) -> str:
    head, at, rank = url.rpartition("@")
    return head if at and rank.isdecimal() else url


def _why_not(reply: _WorkerReply) -> str:
    if reply.runtime_type != "sglang":
        return f"it is {reply.runtime_type}, not SGLang"
    if reply.connection_mode != "http":
        return f"the gateway speaks {reply.connection_mode} to it: start it without --grpc-mode, it has to speak HTTP"
    if reply.worker_type != _SERVES_ALL:
        return f"it only does {reply.worker_type}: a rollout needs a server that does both prefill and decode"
    return ""
