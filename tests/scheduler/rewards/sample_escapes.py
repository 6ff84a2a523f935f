"""Rewards that try to get out, or to take more than is theirs. Loaded in worker processes by the tests beside it."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path


def open_a_socket(metadata: Mapping[str, object]) -> None:
    """To the network."""
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", int(str(metadata["port"]))))


def open_a_unix_socket(metadata: Mapping[str, object]) -> None:
    """To whatever listens on this machine."""
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def fork(metadata: Mapping[str, object]) -> None:
    """A copy that nobody watches."""
    if os.fork() == 0:
        os._exit(0)


def run_a_program(metadata: Mapping[str, object]) -> None:
    """Any program."""
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def allocate(metadata: Mapping[str, object]) -> None:
    """More memory than there may be."""
    bytearray(10 << 30)


def write_a_big_file(metadata: Mapping[str, object]) -> None:
    """Fill the disk."""
    with Path(str(metadata["folder"]), "big").open("wb", buffering=0) as file:
        for _ in range(65):
            file.write(bytes(1 << 20))
        file.flush()


def open_many_files(metadata: Mapping[str, object]) -> None:
    """Every descriptor there is."""
    for _ in range(1000):
        os.open(os.devnull, os.O_RDONLY)


def raise_the_limits(metadata: Mapping[str, object]) -> None:
    """Undo what was done."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def kill_the_scheduler(metadata: Mapping[str, object]) -> None:
    """The parent is the scheduler."""
    os.kill(os.getppid(), signal.SIGKILL)


def read_the_environment(metadata: Mapping[str, object]) -> None:
    """A token in the worker's own environment."""
    os.environ["PILOTCOMMIT_API_KEY"]


def read_the_schedulers_environment(metadata: Mapping[str, object]) -> None:
    """A token in the scheduler's."""
    Path(f"/proc/{os.getppid()}/environ").read_bytes()


def read_the_schedulers_memory(metadata: Mapping[str, object]) -> None:
    """A token in the scheduler's memory."""
    with Path(f"/proc/{os.getppid()}/mem").open("rb"):
        pass


def leave_the_group(metadata: Mapping[str, object]) -> None:
    """The group is what is killed."""
    os.setsid()


def new_namespace(metadata: Mapping[str, object]) -> None:
    """In which it would have every privilege."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


ESCAPES: Mapping[str, Callable[[Mapping[str, object]], None]] = {
    escape.__name__: escape
    for escape in (
        open_a_socket,
        open_a_unix_socket,
        fork,
        run_a_program,
        allocate,
        write_a_big_file,
        open_many_files,
        raise_the_limits,
        kill_the_scheduler,
        read_the_environment,
        read_the_schedulers_environment,
        read_the_schedulers_memory,
        leave_the_group,
        new_namespace,
    )
}


def attempt(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """Try what the text names; 1 if it could be done."""
    if text in ESCAPES:
        ESCAPES[text](metadata)
    return 1.0


def threads(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """Numeric libraries start threads: they may."""
    done = threading.Event()
    threading.Thread(target=done.set).start()
    return float(done.wait(10))


def program(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """What a program says of a completion; the program itself is shut in as well."""
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    return float(run.stdout)


def burn(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """The bound on CPU time, in seconds from now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    return float(soft)
