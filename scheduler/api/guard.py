"""Who may call a route.

Owns: reading the bearer token of a request and holding it against the token file. Invariant: without a token file
every request passes; with one, a request without a token that grants the route's scope changes nothing.
"""

from collections.abc import Sequence
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from scheduler.core.errors import Forbidden, Unauthorised
from scheduler.core.tokens import Scope, holder
from scheduler.token_file import TokenFile

log = structlog.get_logger(__name__)

_bearer = HTTPBearer(
    auto_error=False, description="A token of `pilotcommit token create`, where the scheduler has a token file."
)
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Guard:
    """Makes dependencies of routes."""

    def __init__(self, tokens: TokenFile | None) -> None:
        """`tokens` None: everybody may do everything."""
        self._tokens = tokens

    def needs(self, scope: Scope) -> Sequence[Dependency]:
        """What a route with this scope depends on."""

        async def check(request: Request, credentials: _Credentials) -> None:
            self._check(request, credentials.credentials if credentials else "", scope)

        return [Depends(check)]

    def _check(self, request: Request, token: str, scope: Scope) -> None:
        if self._tokens is None:
            return
        route = f"{request.method} {request.url.path}"
        if not token:
            raise Unauthorised(f"{route} needs a token: send it as `Authorization: Bearer …` (PILOTCOMMIT_TOKEN)")
        found = holder(self._tokens.records(), token)
        if found is None:
            log.warning("token_unknown", route=route, client=request.client.host if request.client else "")
            raise Unauthorised(f"{route}: this token is unknown or was revoked")
        if not found.grants(scope):
            log.warning("token_too_weak", route=route, token=found.name, scope=scope)
            granted = ", ".join(sorted(found.scopes)) or "read"
            raise Forbidden(f"{route} needs the scope {scope}; the token {found.name!r} has {granted}")
