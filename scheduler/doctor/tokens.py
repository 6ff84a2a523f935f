"""The token file, and whether the command line's own token is in it.

Owns: what is said of them. Never shows a token. Invariant: a file of hashes that others may read is told of all the
same: names and scopes are nobody else's business.
"""

import stat
from collections.abc import Sequence
from pathlib import Path

from scheduler.core.errors import InvalidInput
from scheduler.core.tokens import Scope, TokenRecord, holder
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.doctor.patient import Patient
from scheduler.settings import PREFIX
from scheduler.token_file import TokenFile

_CHECK = "tokens"
_FILE = f"{PREFIX}TOKENS_FILE"


def tokens(patient: Patient) -> list[Finding]:
    """The file that the settings name, or what it means that they name none."""
    path = patient.settings.tokens_file
    if _FILE in patient.faults:
        todo = "make one with `pilotcommit token create NAME --file FILE`, or correct the name"
        return [problem(_CHECK, patient.faults[_FILE], todo)]
    if path is None:
        return [without(allow_anonymous=patient.settings.allow_anonymous, host=patient.settings.host)]
    try:
        records = TokenFile(path).records()
        mode = path.stat().st_mode
    except (InvalidInput, OSError) as error:
        return [problem(_CHECK, str(error), f"make one with `pilotcommit token create NAME --file {path}`")]
    return findings(path, records, mode, patient.token)


def without(*, allow_anonymous: bool, host: str) -> Finding:
    """No token file."""
    if allow_anonymous:
        return warning(
            _CHECK,
            f"none: whoever reaches {host} may spend the budget",
            "make a file with `pilotcommit token create`, and name it in PILOTCOMMIT_TOKENS_FILE",
        )
    return ok(_CHECK, "none: the API is open to this machine, and listens nowhere else")


def findings(path: Path, records: Sequence[TokenRecord], mode: int, token: str | None) -> list[Finding]:
    """A file's tokens and who may read it."""
    found = []
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        others = f"{path} can be read by others ({stat.filemode(mode)})"
        found.append(warning(_CHECK, others, f"chmod 600 {path}"))
    if not any(record.grants(Scope.LEARN) for record in records):
        todo = f"`pilotcommit token create learner --scope learn --file {path}`, for PILOTCOMMIT_LEARNER_TOKEN"
        found.append(warning(_CHECK, f"no token in {path} has the scope learn: no learner could attach", todo))
    ours = holder(records, token) if token else None
    if token and ours is None:
        todo = f"take one of `pilotcommit token list --file {path}`, or make another"
        found.append(problem(_CHECK, f"PILOTCOMMIT_TOKEN is not in {path}", todo))
    scopes = ", ".join(sorted(ours.scopes) or [Scope.READ]) if ours else ""
    mine = f"; the command line's is {ours.name!r} ({scopes})" if ours else ""
    return found or [ok(_CHECK, f"{len(records)} in {path}{mine}")]
