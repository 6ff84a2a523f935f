"""This machine: its ports, cores, disks, and whether it can shut rewards in.

Owns: looking at them and what they should be. Invariant: the only thing it starts is a reward worker, which ends with
the look; the only thing it writes is a file that is gone when it returns.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from scheduler.core.errors import PilotCommitError
from scheduler.doctor.finding import Finding, ok, problem, warning
from scheduler.rewards.isolation import Confinement, Isolation, IsolationMode
from scheduler.rewards.process import WorkerProcess

_FEW_CORES = 16
_OURS = ("scheduler.main", "learner.main", "pilotcommit")
_LOW_BYTES, _TOO_LOW_BYTES = 5 << 30, 256 << 20
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who listens on a port."""

    pid: int | None
    """None where the system does not say, as for another user's process."""
    command: str

    @property
    def is_ours(self) -> bool:
        """Whether it is a process of this project."""
        return any(name in self.command for name in _OURS)


def listener(port: int) -> Listener | None:
    """Who listens on a TCP port of this machine; None if nobody does, or nobody may know."""
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in found:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return Listener(pid=connection.pid, command=_command(connection.pid))
    return None


def _command(pid: int | None) -> str:
    if pid is None:
        return ""
    try:
        return " ".join(psutil.Process(pid).cmdline()) or psutil.Process(pid).name()
    except psutil.Error:
        return ""


def port_finding(what: str, variable: str, port: int, found: Listener | None) -> Finding:
    """Whether a port can be had."""
    check = f"port {port}"
    if found is None:
        return ok(check, f"free, for {what}")
    who = (
        "a process of another user" if found.pid is None else f"process {found.pid} ({found.command[:80] or 'unknown'})"
    )
    if found.is_ours:
        return ok(check, f"held by {who}, which is ours")
    return problem(
        check,
        f"wanted for {what}, held by {who}",
        f"stop that, or set {variable} to another port; see also `up --port`",
    )


def threads_finding(environ: Mapping[str, str], cores: int, *, has_gpu: bool) -> Finding:
    """OpenMP's threads spin: several processes that each take all of few cores make each other ten times slower."""
    given = environ.get("OMP_NUM_THREADS", "")
    said = f"{cores} cores, OMP_NUM_THREADS {given or 'not set'}"
    if has_gpu or cores > _FEW_CORES or (given.isdigit() and int(given) * 2 <= max(2, cores)):
        return ok("threads", said)
    return warning(
        "threads",
        f"{said}: server and learner each spin on every core",
        "export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive wherever torch runs beside a server (`up` does it by itself)",
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1


def disk_finding(what: str, folder: Path, free_bytes: int, needed_bytes: int) -> Finding:
    """Whether a folder has room; `needed_bytes` is what will soon be written there."""
    said = f"{free_bytes / _GIB:.1f} GiB free at {folder}"
    if needed_bytes:
        said += f", {needed_bytes / _GIB:.1f} GiB needed"
    if free_bytes < max(_TOO_LOW_BYTES, needed_bytes):
        return problem(f"disk for {what}", said, "make room, or name another folder")
    if free_bytes < max(_LOW_BYTES, 2 * needed_bytes):
        return warning(f"disk for {what}", said, "make room before a long run")
    return ok(f"disk for {what}", said)


def free_bytes(folder: Path) -> int:
    """Room where a folder is or would be made."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


async def isolation(wanted: Confinement) -> Finding:
    """Start a reward worker as the scheduler would, and ask how it is shut in."""
    try:
        worker = await WorkerProcess.start(wanted)
    except PilotCommitError as error:
        return problem("rewards", str(error), "see PILOTCOMMIT_REWARD_ISOLATION in docs/security.md")
    found = worker.isolation
    await worker.kill()
    return isolation_finding(wanted.mode, found)


def isolation_finding(mode: IsolationMode, found: Isolation) -> Finding:
    """How far rewards are shut in here."""
    granted = ", ".join(measure.value.replace("_", " ") for measure in found.in_force) or "nothing"
    if mode is IsolationMode.OFF:
        return warning(
            "rewards", "they are not shut in: it is switched off", "set PILOTCOMMIT_REWARD_ISOLATION=best_effort"
        )
    if lacking := found.lacking():
        return warning(
            "rewards",
            f"shut in by {granted} only: {lacking}",
            "run rewards of people you trust only, or a system with seccomp (docs/security.md)",
        )
    return ok("rewards", f"shut in by {granted}")
