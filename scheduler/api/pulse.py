"""What changes, as all listeners hear it.

Owns: the newest look at runs and fleet, as it is sent. Never changes anything. Invariant: however many listen, Redis is
looked at once an interval, and not at all while nobody does; a run that has ended is looked at once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from scheduler.api.response import Response
from scheduler.api.run_responses import Run
from scheduler.api.server_responses import Servers
from scheduler.api.servers import shown
from scheduler.core.lifecycle import ENDED
from scheduler.service import Service
from scheduler.state.connection import SILENCES

EVENT_STREAM = "text/event-stream"
_LIFE_S = 300.0
"""A stream ends after so long and is opened anew, with its token checked again: one that was revoked hears no more."""


class Pulse:
    """Looks at runs and fleet while somebody listens."""

    def __init__(
        self,
        service: Service,
        *,
        every_s: float = 1.0,
        life_s: float = _LIFE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._every_s = every_s
        self._life_s = life_s
        self._clock = clock
        self._looking = asyncio.Lock()
        self._seen: Mapping[str, bytes] = {}
        self._seen_at: float | None = None
        self._ended: dict[str, bytes] = {}

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events: every run and the fleet at first, then what has changed; a comment where nothing has.

        Consumes: looks. Produces: events. Waits for: time. Ends by itself after a while, for its reader to come again.
        """
        sent: Mapping[str, bytes] = {}
        until = self._clock() + self._life_s
        while self._clock() < until:
            try:
                seen = await self._look()
            except SILENCES as error:
                yield _event("trouble", msgspec.json.encode({"detail": f"Redis does not answer: {error}"}))
            else:
                changed = [event for name, event in seen.items() if sent.get(name) != event]
                yield b"".join(changed) or b": nothing has changed\n\n"
                sent = seen
            await asyncio.sleep(self._every_s)

    async def _look(self) -> Mapping[str, bytes]:
        async with self._looking:
            if self._seen_at is None or self._clock() - self._seen_at >= self._every_s / 2:
                self._seen = await self._take()
                self._seen_at = self._clock()
            return self._seen

    async def _take(self) -> Mapping[str, bytes]:
        seen = {"servers": _told("servers", Servers(servers=[shown(view) for view in self._service.fleet.view()]))}
        for run_id in await self._service.runs.ids():
            seen[f"run {run_id}"] = self._ended.get(run_id) or await self._run(run_id)
        return seen

    async def _run(self, run_id: str) -> bytes:
        view = await self._service.views.run(run_id)
        event = _told("run", Run.of(view))
        if view.record.state in ENDED:
            self._ended[run_id] = event
        return event


def _told(name: str, answer: Response) -> bytes:
    return _event(name, answer.model_dump_json().encode())


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
