"""The folders: where weights are shared, and where durable state is kept.

Owns: trying them and what is said. Invariant: whatever it writes is gone when it returns. What servers see cannot be
asked of them without giving them weights, so that is said and never claimed.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.doctor.machine import disk_finding, free_bytes
from scheduler.doctor.patient import Patient

_WEIGHTS = "weights"
_COPIES = 3
"""Published weights that are there at once: those kept, and the one that is being written."""
_CHECKPOINT_RATE = 8
"""Bytes of a checkpoint for each of published weights: 12 a parameter and 4 of its float32, against 2 of bfloat16."""
_PROBE = b"pilotcommit doctor\n"


def folders(patient: Patient) -> list[Finding]:
    """All of them, this host's side."""
    settings = patient.settings
    data = disk_finding("data", settings.data_dir, free_bytes(settings.data_dir), 0)
    if not patient.weights:
        return [
            data,
            warning(
                _WEIGHTS,
                "no folder for weights is named",
                "give --weights FOLDER, or PILOTCOMMIT_LEARNER_WORK_DIR: learner and servers must both reach it",
            ),
        ]
    needed = needed_bytes(patient.model)
    found = [
        finding
        for folder in patient.weights
        for finding in (probe(folder), _outside(folder, settings.weight_roots), _room(folder, needed))
        if finding is not None
    ]
    mapped = ", ".join(f"{each.learner} is {each.here} here and {each.server} at servers" for each in settings.path_map)
    return [data, *found, *([ok("path map", mapped)] if mapped else [])]


def probe(folder: Path) -> Finding:
    """Write a file there, read it back, and remove it."""
    if not folder.is_dir():
        todo = "make it, or mount it: learner and servers must both reach it"
        return problem(_WEIGHTS, f"{folder} is not a folder here", todo)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".pilotcommit-doctor-") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
            same = Path(file.name).read_bytes() == _PROBE
    except OSError as error:
        todo = "give the learner's user the right to write there; on the scheduler's host alone reading is enough"
        said = f"{folder} cannot be written by this user: {error.strerror}"
        return (warning if os.access(folder, os.R_OK | os.X_OK) else problem)(_WEIGHTS, said, todo)
    if not same:
        return problem(_WEIGHTS, f"{folder} gives back something else than was written", "repair that file system")
    return ok(_WEIGHTS, f"{folder} is written and read from here; what servers see there only a push can tell")


def _outside(folder: Path, roots: Iterable[Path] | None) -> Finding | None:
    if roots is None or any(folder.resolve().is_relative_to(root.resolve()) for root in roots):
        return None
    told = ", ".join(map(str, roots))
    todo = "add it to PILOTCOMMIT_WEIGHT_ROOTS, or have the learner work within them"
    return problem(_WEIGHTS, f"{folder} lies outside of {told}: what is published there is refused", todo)


def _room(folder: Path, needed: int) -> Finding | None:
    return disk_finding("weights", folder, free_bytes(folder), needed) if folder.is_dir() else None


def needed_bytes(model: Path | None) -> int:
    """What weights and checkpoints of a model will take, about; 0 where it is not known."""
    if model is None:
        return 0
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return weights * (_COPIES + 2 * _CHECKPOINT_RATE)
