"""What is examined: the settings of a scheduler as its environment has them, and where it may run already.

Owns: reading them with what the command line says over them. Invariant: settings that cannot be read are a finding, and
stop no check that can do without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scheduler.core.errors import InvalidInput
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.secret_files import with_secrets
from scheduler.settings import PREFIX, ModellessSettings, settings_of
from scheduler.tls import ClientTls

_TOKEN = f"{PREFIX}TOKEN"
_WORK_DIR = f"{PREFIX}LEARNER_WORK_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Everything that checks are made of."""

    settings: ModellessSettings
    """The defaults where one cannot be read."""
    faults: Mapping[str, str]
    """Why a setting cannot be read, by its variable."""
    url: str
    """Where a scheduler answers, if one does."""
    token: str | None
    """The command line's."""
    tls: ClientTls
    """How an https:// scheduler is trusted."""
    weights: tuple[Path, ...]
    """Folders that a learner publishes weights in, as this host sees them."""

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        *,
        url: str,
        model: Path | None = None,
        servers: Sequence[str] = (),
        weights: Sequence[Path] = (),
    ) -> Self:
        """From an environment, and what goes over it. Raises InvalidInput for a token's file that cannot be read."""
        given = dict(environ)
        if model is not None:
            given[f"{PREFIX}MODEL"] = str(model)
        if servers:
            given[f"{PREFIX}SERVERS"] = ",".join(servers)
        settings, faults = _read(given)
        named = weights or ([Path(environ[_WORK_DIR])] if environ.get(_WORK_DIR) else [])
        return cls(
            settings=settings,
            faults=faults,
            url=url,
            token=with_secrets(environ, [_TOKEN]).get(_TOKEN),
            tls=ClientTls.of_environment(environ, PREFIX),
            weights=tuple(dict.fromkeys([*named, *(Path(folder.here) for folder in settings.path_map)])),
        )

    @property
    def model(self) -> Path | None:
        """The model that is served; None where none is named."""
        return self.settings.model if "model" in self.settings.model_fields_set else None


def _read(given: dict[str, str]) -> tuple[ModellessSettings, Mapping[str, str]]:
    """The settings without those at fault, and what is wrong with these; changes `given`."""
    faults: dict[str, str] = {}
    while True:
        try:
            return settings_of(ModellessSettings, given), faults
        except InvalidInput as error:
            at_fault = [
                name for name in (error.field, f"{error.field}_FILE") if given.pop(name or "", None) is not None
            ]
            faults[error.field or ""] = str(error)
            if not at_fault:
                return ModellessSettings(), faults


def settings_finding(patient: Patient) -> Finding:
    """Whether a scheduler would start with these settings."""
    if patient.faults:
        told = "; ".join(dict.fromkeys(part for fault in patient.faults.values() for part in fault.split("; ")))
        return problem("settings", told, "correct it; docs/configuration.md has every variable and its default")
    if patient.model is None:
        return warning(
            "settings",
            "no model is named, so no server can be held against it",
            "set PILOTCOMMIT_MODEL, or give --model: the folder with the model's config.json and tokenizer",
        )
    return ok("settings", f"a scheduler would start with them; it serves {patient.model}")
