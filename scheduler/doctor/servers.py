"""The SGLang servers: whether each can be reached, used, and given weights.

Owns: the questions and what is said. Never sends a control call: only the scheduler does. Invariant: it judges a server
as the fleet does, by `ExpectedModel` and the oldest supported version.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from inference.client import ServerClient, Timeouts
from inference.control import BROADCAST_ROUTES, WEIGHT_ROUTES, Load, ModelInfo, ServerInfo
from inference.interpreter import OLDEST_SGLANG_VERSION
from inference.protocol import ModelLimits
from scheduler.core.errors import ControlFailed, InferenceError, InvalidInput
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.doctor.patient import Patient
from scheduler.fleet.alikeness import TEXTS
from scheduler.fleet.fitness import ExpectedModel, is_older_than_tested
from scheduler.fleet.reference import Reference
from scheduler.servers_file import ServersFile
from scheduler.tokenizers import Tokenizers

_TIMEOUTS = Timeouts(connect_s=3.0, probe_s=5.0)
_NO_LIMITS = ModelLimits(vocab_size=1, context_length=1)
"""Nothing is generated, so no limit is ever asked for."""
_NO_KEY = "401"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a server answered."""

    info: ModelInfo
    launched: ServerInfo
    load: Load
    is_ready: bool
    routes: frozenset[str] | None
    """None where it was told not to say."""
    takes_admin_key: bool | None
    tokenizer_difference: str = ""
    """Empty where it is the model's, or not to be asked."""


async def servers(patient: Patient) -> list[Finding]:
    """Every server that is named."""
    urls = patient.settings.servers
    if not urls:
        return [
            warning(
                "servers",
                "none is named",
                "set PILOTCOMMIT_SERVERS, give --server URL, or let `pilotcommit up` start one here",
            )
        ]
    expected = None
    if patient.model is not None:
        try:
            expected = ExpectedModel.read(patient.model)
        except InvalidInput as error:
            return [problem("model", str(error), "name the folder of the model that the servers serve")]
    found = await asyncio.gather(*(_server(patient, url, expected) for url in urls))
    return [*(finding for one in found for finding in one[1]), *_twins([one[0] for one in found])]


async def _server(patient: Patient, url: str, expected: ExpectedModel | None) -> tuple[tuple[str, str], list[Finding]]:
    settings = patient.settings
    own = ServersFile(path=settings.servers_file).of(url)
    client = ServerClient(
        url,
        _NO_LIMITS,
        api_key=own.api_key or _revealed(settings.api_key),
        admin_api_key=own.admin_api_key or _revealed(settings.admin_api_key),
        timeouts=_TIMEOUTS,
        max_connections=2,
        tls=own.tls.over(settings.server_tls).context(),
    )
    try:
        found = await _asked(client, expected)
    except InferenceError as error:
        return (url, ""), [unreachable(url, str(error))]
    finally:
        await client.aclose()
    return (url, found.launched.instance), findings(url, found, expected)


async def _asked(client: ServerClient, expected: ExpectedModel | None) -> Examined:
    info, launched, load = await client.model_info(), await client.server_info(), await client.loads()
    try:
        routes: frozenset[str] | None = await client.routes()
    except ControlFailed:
        routes = None
    difference = ""
    if expected is not None:
        difference = await Reference(expected.folder, Tokenizers()).difference(await client.tokenized(TEXTS))
    return Examined(
        info=info,
        launched=launched,
        load=load,
        is_ready=await client.is_ready(),
        routes=routes,
        takes_admin_key=await client.takes_admin_key(),
        tokenizer_difference=difference,
    )


def unreachable(url: str, reason: str) -> Finding:
    """It does not answer, or not to us."""
    if _NO_KEY in reason:
        return problem(f"server {url}", f"it wants another key: {reason}", "set PILOTCOMMIT_API_KEY to its --api-key")
    return problem(f"server {url}", reason, "start it, correct the address, or look for a firewall in between")


def findings(url: str, found: Examined, expected: ExpectedModel | None) -> list[Finding]:
    """What is to be said of a server that answers: everything that is not in order, else that it is."""
    check = f"server {url}"
    faults = [
        finding
        for finding in (
            _version(check, found.launched),
            _model(check, found, expected),
            _tokenizer(check, found),
            _key(check, found.takes_admin_key),
            _weights(check, found.routes),
            None
            if found.is_ready
            else warning(check, "it is paused", "it is continued by the scheduler that paused it"),
        )
        if finding is not None
    ]
    said = f"SGLang {found.launched.version or 'of an unknown version'} with {found.launched.model_path}"
    return faults or [ok(check, f"{said}, {found.load.num_running} running, {found.load.num_waiting} waiting")]


def _version(check: str, launched: ServerInfo) -> Finding | None:
    todo = f"run SGLang {OLDEST_SGLANG_VERSION} or newer"
    if not launched.version:
        return warning(check, "it does not say its version", todo)
    if is_older_than_tested(launched.version):
        return problem(check, f"SGLang {launched.version} is older than what is supported", todo)
    return None


def _model(check: str, found: Examined, expected: ExpectedModel | None) -> Finding | None:
    if expected is None:
        return None
    if unfit := expected.why_not(found.info, found.launched):
        return problem(check, unfit, "launch it with the model of PILOTCOMMIT_MODEL, or correct that")
    if warnings := expected.warnings(found.launched):
        return warning(check, "; ".join(warnings), "nothing, if that is meant: it keeps the server from nothing")
    return None


def _tokenizer(check: str, found: Examined) -> Finding | None:
    if found.tokenizer_difference:
        return problem(check, found.tokenizer_difference, "the scheduler would not use it")
    return None


def _key(check: str, takes: bool | None) -> Finding | None:
    if takes is False:
        said = "its control plane refuses our key: no weights could be pushed"
        return problem(check, said, "set PILOTCOMMIT_ADMIN_API_KEY to its --admin-api-key")
    return None


def _weights(check: str, routes: frozenset[str] | None) -> Finding | None:
    if routes is None:
        said = "it does not say which calls it has (DISABLE_OPENAPI_DOC)"
        return warning(check, said, "nothing, if it is SGLang itself: weights are pushed all the same")
    if missing := sorted(WEIGHT_ROUTES - routes):
        todo = "reach SGLang itself, not a router in front of it"
        return problem(check, f"it lacks {', '.join(missing)}: it cannot be given weights", todo)
    if missing := sorted(BROADCAST_ROUTES - routes):
        said = f"it lacks {', '.join(missing)}: weights come from the folder only"
        return warning(check, said, f"run SGLang {OLDEST_SGLANG_VERSION} or newer to broadcast weights")
    return None


def _twins(known: Sequence[tuple[str, str]]) -> list[Finding]:
    """Addresses of one process, which two updates at once would kill."""
    first: dict[str, str] = {}
    found = []
    for url, instance in known:
        if instance and instance in first:
            said = f"it is the same process as {first[instance]}"
            found.append(problem(f"server {url}", said, "name each server once"))
        first.setdefault(instance, url)
    return found


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
