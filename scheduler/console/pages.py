"""The files of the console, as they are served.

Owns: the answers with its files, and what a browser may do with them. Never touches data: the page asks the API for
that, with the token of whoever looks at it. Invariant: nothing runs in the page that did not come with it.
"""

from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PATH = "/console"
_FILES = Path(__file__).parent / "static"
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # What is written into the page as markup raises: prompts and reasons come from outside.
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, and answered by the ETag: a new release reaches the browser at once.
    "Cache-Control": "no-cache",
}


class Pages(StaticFiles):
    """The console's files, as an ASGI application to mount at `PATH`."""

    def __init__(self) -> None:
        super().__init__(directory=_FILES, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, under the policy of the page."""
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        return answer
