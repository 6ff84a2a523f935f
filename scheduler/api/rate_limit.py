"""How often the API may be asked.

Owns: who counts as one caller, and the answer to those who ask too often. Never decides (`scheduler.core.rate` does).
Invariant: a caller who guesses tokens stays one caller, that of its address; probes of orchestrators and files
of the console are never refused.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.api.problems import problem
from scheduler.console.pages import PATH
from scheduler.core.errors import InvalidInput
from scheduler.core.rate import Callers, Rate
from scheduler.core.tokens import holder
from scheduler.token_file import TokenFile

_PROBES = frozenset({"/healthz", "/readyz"})
_PAGES = f"{PATH}/"
"""Files of the console: opening it asks for all of them at once, which no rate for the API should have to allow for."""


def _is_free(path: str) -> bool:
    return path in _PROBES or path.startswith(_PAGES)


class RateLimit:
    """ASGI middleware: 429 with Retry-After for whoever asks more often than the rate."""

    def __init__(
        self, app: ASGIApp, *, rate: Rate, tokens: TokenFile | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._rate = rate
        self._tokens = tokens
        self._callers = Callers(rate)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request, whatever its size: a stream or an upload is one."""
        if scope["type"] == "http" and not _is_free(scope["path"]):
            wait_s = self._callers.admit(self._caller(scope), self._clock())
            if wait_s:
                await self._refuse(wait_s)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> str:
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if self._tokens is not None and kind.lower() == "bearer":
            # A token file that cannot be read is the guard's to tell.
            with suppress(InvalidInput):
                if known := holder(self._tokens.records(), token):
                    return f"token {known.name}"
        client = scope.get("client")
        return f"address {client[0] if client else ''}"

    def _refuse(self, wait_s: float) -> ASGIApp:
        answer = problem(
            429,
            "Too many requests",
            f"more than {self._rate.per_s:g} requests a second (PILOTCOMMIT_RATE_PER_S): ask again in {wait_s:.2g} s",
            kind="TooManyRequests",
        )
        answer.headers["Retry-After"] = str(math.ceil(wait_s))
        return answer
