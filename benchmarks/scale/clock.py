"""A virtual clock: an event loop that jumps to its next timer when there is nothing else to do.

Owns: the loop's time, and knowing when the world outside is waited for. Invariant: time stands still while anything
real is under way (Redis, a thread), so that what is measured in it is what was decided and never how fast it was.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from redis.asyncio.connection import Connection

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class Outside:
    """How much of the real world is being waited for."""

    def __init__(self) -> None:
        self.pending = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time stands still while the block lasts."""
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    def connection_class(self) -> type[Connection]:
        """A connection to Redis that is counted while it waits for answers."""
        outside = self

        class Counted(Connection):
            """Connecting is waited for, and one answer for each command that was sent."""

            async def connect(self) -> None:
                with outside.waiting():
                    await super().connect()  # type: ignore[no-untyped-call]  # not annotated in redis-py

            async def read_response(
                self,
                disable_decoding: bool = False,
                timeout: float | None = None,
                *,
                disconnect_on_error: bool = True,
                push_request: bool | None = False,
            ) -> object:
                with outside.waiting():
                    return await super().read_response(
                        disable_decoding,
                        timeout,
                        disconnect_on_error=disconnect_on_error,
                        push_request=push_request,
                    )

        return Counted


class _Selector(selectors.DefaultSelector):
    """Waits for the real world only where somebody does."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.outside.pending or timeout is None:
            return super().select(1.0)
        self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop under a virtual clock."""

    def __init__(self) -> None:
        self.outside = Outside()
        self.virtual_s = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.virtual_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.virtual_s += seconds

    def run_in_executor(
        self, executor: Executor | None, call: Callable[[*_Arguments], _Result], *arguments: *_Arguments
    ) -> "asyncio.Future[_Result]":
        """As any loop, with time standing still meanwhile."""
        future = super().run_in_executor(executor, call, *arguments)
        self.outside.pending += 1
        future.add_done_callback(lambda _: self._is_back())
        return future

    def _is_back(self) -> None:
        self.outside.pending -= 1


def install(loop: VirtualLoop) -> None:
    """Let the whole process, which is for nothing else, read the virtual clock wherever it reads a clock."""
    epoch, start = time.time(), time.monotonic()
    time.time = lambda: epoch + loop.virtual_s
    time.monotonic = lambda: start + loop.virtual_s
