"""The filter of system calls in a worker: a seccomp program in the kernel's own bytecode.

Owns: which calls a reward is refused, and with which error. Works without privileges, in containers too. Invariant: a
refused call fails with an errno, so that the reward gets an exception with a reason rather than a signal.
"""

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Mapping
from enum import StrEnum
from struct import pack
from types import MappingProxyType

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
"""The few instructions used: load a word, jump if equal, if a bit is set, if not less, return."""
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_CALLS = 0x40000000
"""Calls of x86-64's 32-bit twin begin here: the same calls under other numbers."""
_CLONE_THREAD = 0x00010000
_STEP_BYTES = 8


class Calls(StrEnum):
    """Groups of calls, by what they would be used for."""

    OUTWARD = "socket io_uring_setup"
    """The network, and Unix sockets: Redis and the container engine may listen on one."""
    OTHERS = (
        "ptrace process_vm_readv process_vm_writev pidfd_open pidfd_getfd pidfd_send_signal unshare setns mount "
        "umount2 bpf perf_event_open userfaultfd keyctl add_key request_key open_by_handle_at"
    )
    """Other processes, and the kernel's less used corners."""
    ESCAPE = "setsid setpgid"
    """Leaving the process group, by which a worker is killed with whatever it started."""
    START = "fork vfork execve execveat"
    """New processes and programs."""
    SIGNAL = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"
    """Signals."""


class Machine(StrEnum):
    """Processors whose numbers are known, as `platform.machine()` names them."""

    X86_64 = "x86_64"
    """AMD64."""
    AARCH64 = "aarch64"
    """64-bit ARM."""


_AUDIT: Mapping[Machine, int] = MappingProxyType({Machine.X86_64: 0xC000003E, Machine.AARCH64: 0xC00000B7})
"""What the kernel calls them in a filter."""
_NUMBERS = """
socket 41 198, io_uring_setup 425 425, ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271,
pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424, unshare 272 97, setns 308 268, mount 165 40,
umount2 166 39, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, keyctl 250 219, add_key 248 217,
request_key 249 218, open_by_handle_at 304 265, setsid 112 157, setpgid 109 154, clone 56 220, clone3 435 435,
fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, kill 62 129, tkill 200 130, tgkill 234 131,
rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, prlimit64 302 261
"""
"""Of each call on x86_64 and on aarch64, which lacks some."""


def _numbers(machine: Machine) -> Mapping[str, int]:
    column = 1 + list(Machine).index(machine)
    rows = [row.split() for row in _NUMBERS.split(",")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def forbid(*, may_start_processes: bool) -> None:
    """Install the filter in this process and all it may start, for good. Raises OSError where there is none."""
    if not sys.platform.startswith("linux") or platform.machine() not in list(Machine):
        raise OSError(f"no filter of system calls is known for {sys.platform} on {platform.machine()}")
    program = program_for(Machine(platform.machine()), own_pid=os.getpid(), may_start_processes=may_start_processes)
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = _Program(length=len(program) // _STEP_BYTES, code=ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def program_for(machine: Machine, *, own_pid: int, may_start_processes: bool) -> bytes:
    """The filter's bytecode."""
    numbers = _numbers(machine)
    refused = f"{Calls.OUTWARD} {Calls.OTHERS} {Calls.ESCAPE}" + ("" if may_start_processes else f" {Calls.START}")
    parts = [_check_machine(_AUDIT[machine])]
    parts += [_refuse(numbers[name]) for name in refused.split() if name in numbers]
    # Of clone3 the flags cannot be seen from here; without it the C library falls back to clone.
    parts.append(_refuse(numbers["clone3"], errno.ENOSYS))
    parts.append(_unless(numbers["prlimit64"], _EQUAL, 0))
    if not may_start_processes:
        parts.append(_unless(numbers["clone"], _ANY_BIT, _CLONE_THREAD))
        parts += [_unless(numbers[name], _EQUAL, own_pid) for name in Calls.SIGNAL.split()]
    return b"".join([*parts, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return pack("=HBBI", code, if_true, if_false, value)


def _deny(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _check_machine(audit: int) -> bytes:
    """Leaves the call's number loaded for what follows."""
    return b"".join(
        [
            _step(_LOAD, _MACHINE_AT),
            _step(_EQUAL, audit, 1, 0),
            _deny(errno.ENOSYS),
            _step(_LOAD, _NUMBER_AT),
            _step(_AT_LEAST, _X32_CALLS, 0, 1),
            _deny(errno.ENOSYS),
        ]
    )


def _refuse(number: int, error: int = errno.EACCES) -> bytes:
    return _step(_EQUAL, number, 0, 1) + _deny(error)


def _unless(number: int, test: int, value: int) -> bytes:
    """Refuse the call unless its first argument passes the test."""
    steps = [_step(_LOAD, _ARGUMENTS_AT), _step(test, value, 0, 1), _step(_RETURN, _ALLOW), _deny(errno.EACCES)]
    return _step(_EQUAL, number, 0, len(steps)) + b"".join(steps)
