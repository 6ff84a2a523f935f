"""Shutting a worker in, from within.

Owns: the order of the measures, and the limits, namespaces and user among them. Called once, by a worker that has read
no task yet and has one thread. Invariant: what it does cannot be undone by the code that runs afterwards.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scheduler.core.errors import InvalidInput
from scheduler.rewards import system_calls
from scheduler.rewards.isolation import Confinement, Isolation, IsolationMode, Measure

_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_CAPABILITY_VERSION_3 = 0x20080522
_CPU_MARGIN_S = 60.0
"""Of every task: what loading a reward may take."""


def confine(wanted: Confinement) -> Isolation:
    """Shut this process in; says what is in force. Raises InvalidInput if the user asked for cannot be had.

    The user goes first, for a user namespace keeps one from changing it; the filter last, for it forbids the rest.
    """
    if wanted.mode is IsolationMode.OFF:
        return Isolation(missing={measure: "switched off" for measure in Measure if measure is not Measure.USER})
    measures: dict[Measure, Callable[[], None]] = {
        Measure.NAMESPACES: _leave_namespaces,
        Measure.LIMITS: lambda: _limit(wanted),
        Measure.SYSTEM_CALLS: lambda: system_calls.forbid(may_start_processes=wanted.may_start_processes),
    }
    in_force, missing = list[Measure](), dict[Measure, str]()
    if wanted.user is not None:
        _become(wanted.user)
        in_force.append(Measure.USER)
    for measure, take in measures.items():
        try:
            take()
            in_force.append(measure)
        except (OSError, ValueError) as exc:
            missing[measure] = str(exc)
    return Isolation(in_force=tuple(in_force), missing=missing)


def limit_cpu(num_jobs: int, timeout_s: float) -> None:
    """Bound the CPU time of the next task: a worker whose scheduler is stopped, and cannot kill it, ends by itself."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = (_CPU_MARGIN_S + num_jobs * timeout_s) * (os.cpu_count() or 1)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + allowed) + 1, hard))


def _become(user: str) -> None:
    import pwd

    try:
        record = pwd.getpwnam(user)
    except KeyError:
        raise InvalidInput(f"there is no user {user!r} for rewards to run as", field="reward_user") from None
    try:
        os.setgroups([])
        os.setgid(record.pw_gid)
        os.setuid(record.pw_uid)
    except PermissionError as exc:
        raise InvalidInput(
            f"rewards cannot run as {user!r}: only root may start processes of another user", field="reward_user"
        ) from exc


def _leave_namespaces() -> None:
    if not sys.platform.startswith("linux"):
        raise OSError(f"{sys.platform} has no namespaces")
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_USER | _NEW_NET | _NEW_IPC):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # Without these the worker would only see itself as the overflow user; it is shut in either way.
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _limit(wanted: Confinement) -> None:
    _set(resource.RLIMIT_AS, wanted.memory_bytes)
    _set(resource.RLIMIT_FSIZE, wanted.file_bytes)
    _set(resource.RLIMIT_NOFILE, wanted.open_files)
    _set(resource.RLIMIT_CORE, 0)
    _drop_capabilities()


def _set(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def _drop_capabilities() -> None:
    """With CAP_SYS_RESOURCE, which root has, every limit could be raised again."""
    if not sys.platform.startswith("linux"):
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
