"""Ranks as real processes, joined over gloo as torchrun's are, for tests of what they do together.

Owns: starting them, their results, and their end. Invariant: no rank outlives `on_ranks`.
"""

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch

from learner.ranks import LAUNCHED, Ranks, joined
from scheduler.ports import free_port

Result = TypeVar("Result")

_DEADLINE_S = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A rank that raised, with its traceback."""

    text: str


def on_ranks(size: int, program: Callable[..., Result], *arguments: object, timeout_s: float = 30.0) -> list[Result]:
    """What `program(ranks, *arguments)` returns on each of `size` ranks, in their order; all have to succeed."""
    outcomes = outcomes_on_ranks(size, program, *arguments, timeout_s=timeout_s)
    failures = [outcome.text for outcome in outcomes if isinstance(outcome, Failed)]
    assert not failures, "\n".join(failures)
    return [outcome for outcome in outcomes if not isinstance(outcome, Failed)]


def outcomes_on_ranks(
    size: int, program: Callable[..., Result], *arguments: object, timeout_s: float = 30.0
) -> list[Result | Failed]:
    """The same where ranks may fail: a rank that died without a word has an empty text."""
    # Forked from a process that has imported everything once and computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.learner.launch", "learner.assembly", "learner.session"])
    port = free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(target=_rank, args=(index, size, port, timeout_s, pipes[index][1], program, arguments))
        for index in range(size)
    ]
    try:
        for process, (_, writing) in zip(processes, pipes, strict=True):
            process.start()
            writing.close()
        return [_outcome(reading) for reading, _ in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()
        for reading, _ in pipes:
            reading.close()


def _outcome(reading: Connection) -> Any:
    assert wait([reading], timeout=_DEADLINE_S), "a rank hangs"
    try:
        return pickle.loads(reading.recv_bytes())
    except EOFError:
        return Failed(text="")


def _rank(
    index: int,
    size: int,
    port: int,
    timeout_s: float,
    writing: Connection,
    program: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    environ = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in environ.items()} | {LAUNCHED: "test"})
    outcome: object
    try:
        with joined(os.environ, torch.device("cpu"), timeout_s=timeout_s) as ranks:
            outcome = program(ranks, *arguments)
    except Exception:  # noqa: BLE001  # whatever it is, the test is to show it
        outcome = Failed(text=traceback.format_exc())
    writing.send_bytes(pickle.dumps(outcome))


def alone(program: Callable[..., Result], *arguments: object) -> Result:
    """What the program returns in this process, without any group."""
    return program(Ranks(), *arguments)
