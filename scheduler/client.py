"""The public Python client of the REST API.

Owns: the calls, and turning problem documents back into the error tree. Never retries: what is asked for people is
asked once. Invariant: an answer that is not a success raises.
"""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
import msgspec

from scheduler.core import errors
from scheduler.core.addresses import server_address, server_id
from scheduler.core.errors import InvalidInput, PilotCommitError, ServerUnavailable
from scheduler.core.evaluation import EvaluationMeasure
from scheduler.core.unreadable import UNREADABLE

Json = dict[str, object]
_REFUSED_LINES = "urn:pilotcommit:LinesRefused"
_JSON, _NDJSON = "application/json", "application/x-ndjson"
_PAGE = 1000
_TRUST = "name the authority that signed its certificate in PILOTCOMMIT_CA_FILE"
_PIECE_BYTES = 1 << 16
"""An upload goes out in pieces of about this size: a piece for every line would cost more than the line."""


class Problem(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457), as far as the client reads it."""

    type: str = ""
    title: str = ""
    detail: str = ""
    field: str | None = None


def error_of(response: httpx.Response) -> PilotCommitError:
    """The error that an answer stands for: the class it was raised as, where the document names one of ours."""
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except UNREADABLE:
        return ServerUnavailable(f"{response.request.url} answered {response.status_code}: {response.text[:300]}")
    message, kind = problem.detail or problem.title, getattr(errors, problem.type.rpartition(":")[2], None)
    impatient = response.status_code == httpx.codes.TOO_MANY_REQUESTS and kind is None
    if response.is_server_error or impatient:
        # Whatever stands before the scheduler may ask for patience: nothing is wrong with what was asked.
        return ServerUnavailable(f"{response.request.url} answered {response.status_code}: {message}")
    if isinstance(kind, type) and issubclass(kind, InvalidInput):
        return kind(message, field=problem.field)
    if isinstance(kind, type) and issubclass(kind, PilotCommitError):
        return kind(message)
    return InvalidInput(message, field=problem.field)


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}


class Client:
    """A scheduler, named by its URL. Answers are the API's own JSON."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`token`: where the scheduler has a token file. `tls`: whom to trust other than the public authorities."""
        self.url = url
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        self._http = httpx.Client(
            base_url=url,
            headers=bearer(token),
            timeout=timeout,
            transport=transport,
            verify=tls or True,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Json:
        """Its version and clock; no token is needed."""
        return self._get("/healthz")

    def why_not_ready(self) -> str:
        """Empty if it can work, else what is missing, or that it stands by; no token is needed."""
        answer = self._send("GET", "/readyz")
        return "" if answer.is_success else _problem(answer).detail or f"it answered {answer.status_code}"

    def isolation(self) -> Json:
        """How the processes that judge completions are shut in."""
        return self._get("/v1/isolation")

    def create_pool(self, name: str, *, tokenizer: str, reward: str, max_prompt_tokens: int | None = None) -> Json:
        """Create a pool; creating the same one again changes nothing."""
        body: Json = {"name": name, "tokenizer": tokenizer, "reward": reward}
        if max_prompt_tokens is not None:
            body["max_prompt_tokens"] = max_prompt_tokens
        return self._post("/v1/pools", body)

    def pools(self) -> list[Json]:
        """All pools, by name."""
        return self._list("/v1/pools", "pools")

    def pool(self, name: str) -> Json:
        """One pool with its size."""
        return self._get(f"/v1/pools/{_part(name)}")

    def add_prompts(self, pool: str, lines: Iterable[bytes | str | Mapping[str, object]]) -> Json:
        """Stream prompts into a pool; the answer says what became of every line, refused ones included."""
        path = f"/v1/pools/{_part(pool)}/prompts"
        response = self._send("POST", path, content=_pieces(lines), content_type=_NDJSON)
        if response.is_success or _problem(response).type == _REFUSED_LINES:
            return _decode(response)
        raise error_of(response)

    def preview_prompts(self, pool: str, lines: Iterable[bytes | str | Mapping[str, object]]) -> Json:
        """What the model would see of each line, a hundred at most; nothing is stored."""
        path = f"/v1/pools/{_part(pool)}/preview"
        return _checked(self._send("POST", path, content=_pieces(lines), content_type=_NDJSON))

    def create_run(self, config: Mapping[str, object]) -> Json:
        """Queue a run; the fields are those of POST /v1/runs."""
        return self._post("/v1/runs", dict(config))

    def dry_run(self, config: Mapping[str, object]) -> Json:
        """What a run with these fields would come to; nothing is created."""
        return self._post("/v1/runs/dry-run", dict(config))

    def runs(self) -> list[Json]:
        """All runs, oldest first."""
        return self._list("/v1/runs", "runs")

    def run(self, run_id: str) -> Json:
        """One run."""
        return self._get(f"/v1/runs/{_part(run_id)}")

    def pause(self, run_id: str) -> Json:
        """Claim nothing new."""
        return self._post(f"/v1/runs/{_part(run_id)}/pause")

    def resume(self, run_id: str) -> Json:
        """Claim again."""
        return self._post(f"/v1/runs/{_part(run_id)}/resume")

    def cancel(self, run_id: str) -> Json:
        """End a run now."""
        return self._post(f"/v1/runs/{_part(run_id)}/cancel")

    def raise_budget(self, run_id: str, limits: Mapping[str, object]) -> Json:
        """Raise limits of a run's budget, by name."""
        return self._post(f"/v1/runs/{_part(run_id)}/budget", dict(limits))

    def profile(self, run_id: str) -> Json:
        """How hard a profile found its pool, so far."""
        return self._get(f"/v1/runs/{_part(run_id)}/profile")

    def ledger(self, run_id: str) -> Json:
        """What became of every attempt."""
        return self._get(f"/v1/runs/{_part(run_id)}/ledger")

    def prompt(self, run_id: str, prompt_id: str) -> Json:
        """Everything known of a prompt in a run."""
        return self._get(f"/v1/runs/{_part(run_id)}/prompts/{_part(prompt_id)}")

    def completions(self, run_id: str, prompt_id: str, *, count: int = 5, offset: int = 0, chars: int = 4000) -> Json:
        """What the rollouts of a prompt said, `count` visits of twenty at most, newest first."""
        page = f"count={count}&offset={offset}&chars={chars}"
        return self._get(f"/v1/runs/{_part(run_id)}/prompts/{_part(prompt_id)}/completions?{page}")

    def export(self, run_id: str, table: str, *, after: str = "", count: int = 500) -> Json:
        """A page of a table of a run, of `count` prompts or visits at most, and where the next one begins."""
        return self._get(f"/v1/runs/{_part(run_id)}/export/{table}?count={count}&after={_part(after)}")

    def explain(self, run_id: str, name: str | None = None) -> Json:
        """What happened to a run, or to a prompt, group or rollout of it; `kind` says which it is."""
        what = "" if name is None else f"?name={_part(name)}"
        return self._get(f"/v1/runs/{_part(run_id)}/explain{what}")

    def unsolved(self, run_id: str, *, min_rollouts: int = 8, count: int = 20, offset: int = 0) -> Json:
        """Prompts with at least so many rollouts and none right, most rollouts first, a thousand at most."""
        page = f"min_rollouts={min_rollouts}&count={count}&offset={offset}"
        return self._get(f"/v1/runs/{_part(run_id)}/unsolved?{page}")

    def reinstate(self, run_id: str, prompt_id: str) -> Json:
        """Make a waiting or quarantined prompt claimable."""
        return self._post(f"/v1/runs/{_part(run_id)}/prompts/{_part(prompt_id)}/reinstate")

    def servers(self) -> list[Json]:
        """The fleet."""
        return self._list("/v1/servers", "servers")

    def add_server(self, url: str, labels: Mapping[str, str] | None = None) -> Json:
        """Add a server to the fleet, with labels by which runs choose it."""
        return self._post("/v1/servers", {"url": url, "labels": dict(labels or {})})

    def add_gateway(self, url: str, labels: Mapping[str, str] | None = None) -> Json:
        """Add every server behind a gateway to the fleet."""
        return self._post("/v1/gateways", {"url": url, "labels": dict(labels or {})})

    def drain_server(self, server: str) -> Json:
        """Send a server, named by its id or address, nothing new."""
        return self._post(f"{_server(server)}/drain")

    def resume_server(self, server: str) -> Json:
        """Undo a drain, or a removal that has not ended."""
        return self._post(f"{_server(server)}/resume")

    def remove_server(self, server: str, *, now: bool = False) -> Json:
        """Drain a server and take it out of the fleet; `now` loses what it has in flight."""
        return _checked(self._send("DELETE", f"{_server(server)}?now={str(now).lower()}"))

    def weights(self, run_id: str, *, count: int = 20, before: int | None = None) -> list[Json]:
        """The newest weight versions (with `before`, of those older than it), newest first; a thousand at most."""
        older = "" if before is None else f"&before={before}"
        return self._list(f"/v1/runs/{_part(run_id)}/weights?count={count}{older}", "weights")

    def all_weights(self, run_id: str) -> Iterator[Json]:
        """Every weight version of a run, newest first: its curve of spend and learning."""
        before: int | None = None
        while page := self.weights(run_id, count=_PAGE, before=before):
            yield from page
            before = msgspec.convert(page[-1]["version"], int)

    def evaluate(
        self,
        run_id: str,
        *,
        pool: str,
        rollouts: int = 4,
        version: int | None = None,
        measure: EvaluationMeasure = EvaluationMeasure.ROLLOUTS,
        target: str | None = None,
    ) -> Json:
        """Ask for an evaluation; with LIKELIHOOD there are no rollouts, and `target` is the text that is scored."""
        body: Json = {"pool": pool, "rollouts": rollouts, "version": version, "measure": measure}
        if target is not None:
            body["target"] = target
        return self._post(f"/v1/runs/{_part(run_id)}/evaluations", body)

    def evaluations(self, run_id: str) -> list[Json]:
        """Every evaluation of a run, oldest first."""
        return self._list(f"/v1/runs/{_part(run_id)}/evaluations", "evaluations")

    def evaluation(self, run_id: str, evaluation_id: str) -> Json:
        """One evaluation."""
        return self._get(f"/v1/runs/{_part(run_id)}/evaluations/{_part(evaluation_id)}")

    def _get(self, path: str) -> Json:
        return _checked(self._send("GET", path))

    def _post(self, path: str, body: Json | None = None) -> Json:
        return _checked(self._send("POST", path, content=msgspec.json.encode(body or {})))

    def _list(self, path: str, name: str) -> list[Json]:
        return msgspec.convert(self._get(path)[name], list[Json])

    def _send(
        self, method: str, path: str, *, content: bytes | Iterator[bytes] | None = None, content_type: str = _JSON
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, content=content, headers={"content-type": content_type})
        except httpx.TransportError as exc:
            if "CERTIFICATE_VERIFY_FAILED" in str(exc):
                raise ServerUnavailable(f"{self.url} cannot be trusted ({exc}): {_TRUST}") from exc
            raise ServerUnavailable(
                f"no scheduler answers at {self.url} ({exc}): start one with `pilotcommit up` or name it with --url"
            ) from exc


def _part(name: str) -> str:
    """A name as a part of a path, whatever is in it."""
    return quote(name, safe="")


def _server(server: str) -> str:
    """The path of a server that is named by its id or its address."""
    return f"/v1/servers/{_part(server_id(server_address(server)) if '://' in server else server)}"


def _checked(response: httpx.Response) -> Json:
    if not response.is_success:
        raise error_of(response)
    return _decode(response)


def _decode(response: httpx.Response) -> Json:
    try:
        return msgspec.json.decode(response.content, type=Json)
    except UNREADABLE as exc:
        answer = f"{response.status_code}: {response.text[:300]}"
        raise ServerUnavailable(f"{response.request.url} is not a scheduler's: it answered {answer}") from exc


def _problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except UNREADABLE:
        # Whatever stands before the scheduler answered: no problem document of ours.
        return Problem()


def _pieces(lines: Iterable[bytes | str | Mapping[str, object]]) -> Iterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += _encoded(line).rstrip(b"\n") + b"\n"
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _encoded(line: bytes | str | Mapping[str, object]) -> bytes:
    if isinstance(line, bytes):
        return line
    return line.encode() if isinstance(line, str) else msgspec.json.encode(line)
