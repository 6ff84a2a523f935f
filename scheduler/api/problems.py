"""Errors as problem documents (RFC 9457).

Owns: which error is which status, and how it reads. Invariant: every answer that is not a success is
`application/problem+json` with a title, a detail that says what to do, and the field at fault where there is one.
"""

import uuid
from collections.abc import Mapping
from types import MappingProxyType

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from scheduler.core.errors import (
    BudgetExhausted,
    Conflict,
    FenceLost,
    Forbidden,
    InvalidInput,
    NotAtWork,
    NotFound,
    PilotCommitError,
    StaleIncarnation,
    Unauthorised,
)
from scheduler.state.connection import SILENCES

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
_STATUSES: tuple[tuple[type[PilotCommitError], int, str], ...] = (
    (Unauthorised, 401, "Not authenticated"),
    (Forbidden, 403, "Not allowed"),
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Not in this state"),
    (InvalidInput, 422, "Invalid input"),
    (StaleIncarnation, 409, "Learner replaced"),
    (BudgetExhausted, 409, "Budget exhausted"),
    (FenceLost, 503, "Another scheduler took over"),
)


class ProblemDocument(BaseModel):
    """What every answer that is not a success says (RFC 9457)."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="allow")

    type: str
    """`urn:pilotcommit:` and the class of the error."""
    title: str
    status: int
    detail: str
    """What is wrong, and what would be right."""
    field: str | None = None
    """Where the fault is: a dotted path into the body, a line of an upload, or a parameter of the path."""


CONTENT = {PROBLEM_JSON: {"schema": ProblemDocument.model_json_schema()}}
"""Of an answer that is no success, for OpenAPI."""
RESPONSES: Mapping[int | str, dict[str, object]] = MappingProxyType(
    {
        "4XX": {"description": "The request cannot be met: the problem says why.", "content": CONTENT},
        "5XX": {"description": "The scheduler cannot answer now.", "content": CONTENT},
    }
)
"""Of every route, for OpenAPI."""


def problem(status: int, title: str, detail: str, *, kind: str, **more: object) -> JSONResponse:
    """One problem document."""
    body = {"type": f"urn:pilotcommit:{kind}", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status_code=status, media_type=PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(PilotCommitError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    for silence in SILENCES:
        app.add_exception_handler(silence, _no_redis)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    app.add_exception_handler(Exception, _unexpected)


def kind_of(error: PilotCommitError) -> str:
    """The last part of a problem's type: the error's class, which the client turns back into it."""
    return type(error).__name__


async def _ours(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PilotCommitError):
        return await _unexpected(request, error)
    for kind, status, title in _STATUSES:
        if isinstance(error, kind):
            field = error.field if isinstance(error, InvalidInput) else None
            more = {"field": field} if field else {}
            answer = problem(status, title, str(error), kind=kind_of(error), **more)
            if kind is Unauthorised:
                answer.headers["WWW-Authenticate"] = "Bearer"
            if isinstance(error, NotAtWork):
                # Whatever stands before this scheduler and its standby chooses between them for each connection: over
                # this one, whoever asks again would ask the wrong one again.
                answer.headers["Connection"] = "close"
            return answer
    return await _unexpected(request, error)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        return await _unexpected(request, error)
    faults = [_fault(request, fault) for fault in error.errors()]
    detail = "; ".join(f"{fault['field'] or 'body'}: {fault['message']}" for fault in faults)
    field = {"field": faults[0]["field"]} if faults[0]["field"] else {}
    return problem(422, "Invalid input", detail, kind="InvalidInput", faults=faults, **field)


def _fault(request: Request, fault: ErrorDetails) -> dict[str, str]:
    path, message = [str(part) for part in fault["loc"] if part != "body"], fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return {"field": "", "message": f"not JSON: {fault['ctx']['error']} at character {path[-1]}"}
    if not path and "json" not in request.headers.get("content-type", ""):
        message = "not read as JSON: send it with the header Content-Type: application/json"
    return {"field": ".".join(path), "message": message}


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return await _unexpected(request, error)
    detail = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
    return problem(error.status_code, str(error.detail), detail, kind="Http")


async def _no_redis(request: Request, error: Exception) -> JSONResponse:
    log.error("redis_silent", path=request.url.path, error=str(error))
    detail = f"Redis does not answer: {error}; nothing acknowledged is lost, try again once it does"
    return problem(503, "Redis is unavailable", detail, kind="ServerUnavailable")


async def _hung_up(request: Request, error: Exception) -> JSONResponse:
    # Nobody reads the answer; what was stored before stays, and the upload can be repeated.
    log.info("client_hung_up", path=request.url.path)
    return problem(400, "Incomplete request", "the request ended before its body did", kind="Incomplete")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    reference = uuid.uuid4().hex[:12]
    log.error("unexpected", path=request.url.path, reference=reference, exc_info=error)
    detail = f"unexpected {type(error).__name__}; the log has it under reference {reference}"
    return problem(500, "Internal error", detail, kind="Internal", reference=reference)
