"""A step's numbers on their way out of the learner.

Owns: what a sink is, the thread that writes to sinks, and that one that fails or hangs stops nothing. Never computes a
number. Invariant: `write` returns at once; a sink that has failed is told of once and not asked again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from threading import Thread
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)

_MOST_WAITING = 1000
"""Steps that wait to be written; more are dropped: a sink that is that slow hangs."""


class Sink(Protocol):
    """Somewhere that numbers are written to. May raise whatever its library raises."""

    @property
    def name(self) -> str:
        """For people."""

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Write the numbers of one step."""

    def close(self) -> None:
        """Write what is not written yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    numbers: Mapping[str, float]
    step: int


class Sinks:
    """All sinks of one learner."""

    def __init__(self, sinks: Sequence[Sink] = (), *, patience_s: float = 30.0) -> None:
        """`patience_s`: how long `close` waits for what is not written yet."""
        self._sinks = list(sinks)
        self._patience_s = patience_s
        self._waiting: Queue[_Numbers | None] = Queue(maxsize=_MOST_WAITING)
        self._has_dropped = False
        # A daemon: one that hangs must not keep the process.
        self._thread = Thread(target=self._work, name="sinks", daemon=True)
        if self._sinks:
            self._thread.start()

    def __bool__(self) -> bool:
        return self._thread.is_alive()

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Have every sink that still works write them."""
        if self:
            self._put(_Numbers(numbers=numbers, step=step))

    def close(self) -> None:
        """Have everything written, within the patience."""
        if not self:
            return
        self._put(None)
        self._thread.join(self._patience_s)
        if self._thread.is_alive():
            names = ", ".join(sink.name for sink in self._sinks)
            _log.warning("sink_failed", sink=names, reason=f"it is not done after {self._patience_s:g} s")

    def _put(self, item: _Numbers | None) -> None:
        try:
            self._waiting.put_nowait(item)
        except Full:
            if not self._has_dropped:
                self._has_dropped = True
                names = ", ".join(sink.name for sink in self._sinks)
                _log.warning("sink_failed", sink=names, reason=f"{_MOST_WAITING} steps wait to be written")

    def _work(self) -> None:
        """Consumes: numbers. Produces: what sinks write. Waits for: numbers. Ends: when closed, or no sink is left."""
        while self._sinks and (item := self._waiting.get()) is not None:
            for sink in list(self._sinks):
                try:
                    sink.write(item.numbers, step=item.step)
                except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop training
                    self._give_up(sink, error)
        for sink in list(self._sinks):
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001  # likewise
                self._give_up(sink, error)

    def _give_up(self, sink: Sink, error: Exception) -> None:
        self._sinks.remove(sink)
        _log.warning("sink_failed", sink=sink.name, reason=f"{type(error).__name__}: {error}")
        # What it wrote so far is to be found where it can be.
        with suppress(Exception):
            sink.close()
