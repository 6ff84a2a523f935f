"""The filter's bytecode, run by an interpreter of the few instructions it uses."""

import errno
from struct import iter_unpack

import pytest

from scheduler.rewards.system_calls import Machine, program_for

OWN_PID = 4321
AUDIT = {Machine.X86_64: 0xC000003E, Machine.AARCH64: 0xC00000B7}
ALLOWED = "allowed"


def decide(
    machine: Machine, number: int, argument: int = 0, *, audit: int | None = None, processes: bool = False
) -> str:
    """What the kernel would make of a call: ALLOWED, or the name of the error."""
    program = list(iter_unpack("=HBBI", program_for(machine, own_pid=OWN_PID, may_start_processes=processes)))
    data = {0: number, 4: AUDIT[machine] if audit is None else audit, 16: argument}
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        if code == 0x06:
            return ALLOWED if value == 0x7FFF0000 else errno.errorcode[value & 0xFFFF]
        if code == 0x20:
            loaded, at = data[value], at + 1
            continue
        holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
        at += 1 + (if_true if holds else if_false)


NAMES = ("read", "socket", "clone", "execve", "kill", "prlimit64", "ptrace")
NUMBERS = {
    Machine.X86_64: dict(zip(NAMES, (0, 41, 56, 59, 62, 302, 101), strict=True)),
    Machine.AARCH64: dict(zip(NAMES, (63, 198, 220, 221, 129, 261, 117), strict=True)),
}


@pytest.mark.parametrize("machine", Machine)
def test_ordinary_calls_pass_and_outward_ones_do_not(machine: Machine) -> None:
    numbers = NUMBERS[machine]
    assert decide(machine, numbers["read"]) == ALLOWED
    for name in ("socket", "ptrace", "execve"):
        assert decide(machine, numbers[name]) == "EACCES"


@pytest.mark.parametrize("machine", Machine)
def test_threads_may_be_started_and_processes_may_not(machine: Machine) -> None:
    clone, new_thread, new_process = NUMBERS[machine]["clone"], 0x003D0F00, 0x01200011
    assert decide(machine, clone, new_thread) == ALLOWED
    assert decide(machine, clone, new_process) == "EACCES"
    assert decide(machine, clone, new_process, processes=True) == ALLOWED
    # Its flags cannot be seen by a filter: the C library falls back to clone.
    assert decide(machine, 435, processes=True) == "ENOSYS"


@pytest.mark.parametrize("machine", Machine)
def test_a_reward_signals_itself_only_and_sets_its_own_limits_only(machine: Machine) -> None:
    numbers = NUMBERS[machine]
    assert decide(machine, numbers["kill"], OWN_PID) == ALLOWED
    for pid in (1, OWN_PID + 1, 0, 0xFFFFFFFF):
        assert decide(machine, numbers["kill"], pid) == "EACCES"
    assert decide(machine, numbers["prlimit64"], 0) == ALLOWED
    assert decide(machine, numbers["prlimit64"], 1, processes=True) == "EACCES"


def test_calls_under_the_numbers_of_another_machine_are_refused() -> None:
    assert decide(Machine.X86_64, 0, audit=0x40000003) == "ENOSYS"
    assert decide(Machine.X86_64, 0x40000000 + 41) == "ENOSYS"
