"""Connections to Redis as we need them.

Owns: two repairs of redis-py. It bounds a write with `asyncio.wait_for`, which on Python 3.11 returns as if nothing had
happened when the cancellation arrives as the write ends (bpo-37658): a loop of ours went on, and whoever waited for its
end hung. And its asyncio connections pack commands in Python, hiredis or not, which for a claim of 384 prompts took
longer than Redis does. Invariant: a cancellation that arrived during a write is raised when the write returns.
"""

import asyncio
from collections.abc import Callable, Iterable

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.connection import HiredisRespSerializer
from redis.typing import EncodableT

_pack: Callable[..., list[bytes]] = HiredisRespSerializer().pack


class _Repaired(AbstractConnection):
    def pack_command(self, *args: EncodableT) -> list[bytes]:
        return _pack(*args)

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        await super().send_packed_command(command, check_health)
        if task is not None and task.cancelling() > before:
            # The command is out and nobody will read its answer: the connection must not be used again.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


class _Tcp(_Repaired, Connection):
    pass


class _Tls(_Repaired, SSLConnection):
    pass


class _Unix(_Repaired, UnixDomainSocketConnection):
    pass


def repaired(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The repaired kind of a redis-py connection."""
    return {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}.get(kind, kind)
