"""The scheduler, if one runs: whether it answers, can work, is of this version, has the same time, and takes our token.

Owns: the questions and what is said. Invariant: nobody listening is no problem, as doctors come before the first start.
"""

import time
from dataclasses import dataclass
from importlib.metadata import version

import msgspec

from scheduler.client import Client
from scheduler.core.errors import Forbidden, PilotCommitError, ServerUnavailable, Unauthorised
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.doctor.patient import Patient

_CHECK = "scheduler"
_TIMEOUT_S = 5.0
_SKEW_S = 2.0
STANDBY = "standby"
"""How the reason of a scheduler that waits for another one begins."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What it says of itself to whoever asks."""

    version: str = ""
    now: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a scheduler answered."""

    health: Health
    why_not_ready: str
    skew_s: float | None
    """How far its clock is ahead of ours; None where it does not tell the time."""
    refused: str
    """Why our token was refused; empty if it was not."""


def service(patient: Patient) -> list[Finding]:
    """Ask the scheduler at its URL; blocks for some seconds at most."""
    try:
        with Client(patient.url, token=patient.token, timeout_s=_TIMEOUT_S, tls=patient.tls.context()) as client:
            return findings(patient.url, _asked(client), has_token=patient.token is not None)
    except ServerUnavailable as error:
        return [absent(patient.url, str(error))]
    except (PilotCommitError, msgspec.ValidationError) as error:
        return [problem(_CHECK, f"{patient.url} answers, but is no scheduler of ours: {error}", "correct --url")]


def _asked(client: Client) -> Answered:
    asked_at = time.time()
    health = msgspec.convert(client.health(), Health)
    middle = (asked_at + time.time()) / 2
    refused = ""
    try:
        client.isolation()
    except (Unauthorised, Forbidden) as error:
        refused = str(error)
    return Answered(
        health=health,
        why_not_ready=client.why_not_ready(),
        skew_s=None if health.now is None else health.now - middle,
        refused=refused,
    )


def absent(url: str, reason: str) -> Finding:
    """Nobody answers there, or somebody who does not understand."""
    if "is not a scheduler's" in reason or "cannot be trusted" in reason:
        return problem(_CHECK, reason, "correct --url or PILOTCOMMIT_URL, or see what listens there")
    return warning(
        _CHECK,
        f"none answers at {url}",
        "nothing, before the first start; else start it (`pilotcommit up`, or `python -m scheduler.main`)",
    )


def findings(url: str, found: Answered, *, has_token: bool) -> list[Finding]:
    """What is to be said of one that answers: all that is not in order, else that it is."""
    ours = version("pilotcommit")
    faults = []
    if found.why_not_ready.startswith(STANDBY):
        faults.append(warning(_CHECK, f"{url}: {found.why_not_ready}", "give orders to the scheduler at work"))
    elif found.why_not_ready:
        faults.append(
            problem(_CHECK, f"{url} is not ready: {found.why_not_ready}", "put that right; it goes on by itself")
        )
    if found.health.version != ours:
        theirs = found.health.version or "an unknown version"
        faults.append(warning(_CHECK, f"{url} runs {theirs}, this command is {ours}", "use the version that it runs"))
    if found.skew_s is not None and abs(found.skew_s) > _SKEW_S:
        ahead = "ahead of" if found.skew_s > 0 else "behind"
        said = f"the clock at {url} is {abs(found.skew_s):.0f} s {ahead} this one"
        faults.append(warning(_CHECK, said, "synchronise both (NTP): times shown and wall-clock budgets go by clocks"))
    if found.refused:
        todo = "set PILOTCOMMIT_TOKEN, or PILOTCOMMIT_TOKEN_FILE, to a token of its token file"
        faults.append(problem(_CHECK, found.refused, todo))
    taken = "takes our token" if has_token else "asks for no token"
    return faults or [ok(_CHECK, f"pilotcommit {ours} at {url}, ready, {taken}")]
