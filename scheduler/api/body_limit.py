"""How large a request may be.

Owns: the limit on bodies that are read whole into memory. Never reads one. Invariant: uploads of prompts are streamed
line by line with a limit of their own (`scheduler.prompts`), so they pass.
"""

import re

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 << 20
"""A report of a step names each of its groups; this is room for a hundred thousand."""
_STREAMED = re.compile(r"/v1/pools/[^/]+/prompts")


class BodyLimit:
    """ASGI middleware: 413 for a body over the limit, whether its length is declared or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received; a streamed upload is passed on as it is."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        num_bytes = 0

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES:,} bytes")
            return message

        await self._app(scope, counted, send)
