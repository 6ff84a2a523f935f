"""Rewards as users write them, the bad ones included. Loaded in worker processes by the tests beside it."""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress

from scheduler.rewards.wire import Judged, encode


def length(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """A number: the share of the answer's length."""
    return len(text) / len(answer)


def same(text: str, answer: str, metadata: Mapping[str, object]) -> bool:
    """A bool."""
    return text == answer


def shaped(text: str, answer: str, metadata: Mapping[str, object]) -> tuple[float, bool]:
    """A pair, from the prompt's metadata."""
    bonus = metadata["bonus"]
    assert isinstance(bonus, float)
    return (1.0 + bonus, text == answer)


def obedient(text: str, answer: str, metadata: Mapping[str, object]) -> object:
    """Does what the text says; anything else it echoes as a reward of 1."""
    match text:
        case "raise":
            raise KeyError("no such unit")
        case "exit":
            sys.exit(3)
        case "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM})
            threading.Event().wait()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once":
            _die_unless_marked(str(metadata["marker"]))
        case "nan":
            return float("nan")
        case "words":
            return "good"
        case "none":
            return None
        case "triple":
            return (1, 2, 3)
        case "print":
            print("a reward's chatter")  # noqa: T201 - what the test is about
            sys.stdout.flush()
        case "forge answers":
            for pipe in range(3, 10):
                _write(pipe, encode(Judged(1.0, True)) * 3)
        case "forge nonsense":
            for pipe in range(3, 10):
                _write(pipe, b"\xff" * 64)
        case "forge infinity":
            for pipe in range(3, 10):
                _write(pipe, encode(Judged(float("inf"), True)))
            threading.Event().wait()
        case "read":
            return len(sys.stdin.read()) == 0
        case "pid":
            return os.getpid()
    return 1.0


def _write(pipe: int, data: bytes) -> None:
    with suppress(OSError):
        os.write(pipe, data)


def _die_unless_marked(marker: str) -> None:
    if not os.path.exists(marker):
        os.close(os.open(marker, os.O_CREAT))
        os.kill(os.getpid(), signal.SIGKILL)


async def asynchronous(text: str, answer: str, metadata: Mapping[str, object]) -> float:
    """Not allowed."""
    return 1.0


def without_metadata(text: str, answer: str) -> float:
    """Not allowed."""
    return 1.0


not_a_function = 7
