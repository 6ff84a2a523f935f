"""Entries of a reasoning-gym task as rows, made in a process of their own.

Owns: both ends of that process. Several tasks draw from sets, whose order is another one in every process of Python
unless its hashes are fixed before it starts: here they are. Invariant: the same task, settings and seed give the same
rows, in whatever process the command runs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qsl

import msgspec

from scheduler.core.errors import InvalidInput, PilotCommitError
from scheduler.rewards import gym_entry, gym_task
from scheduler.rewards.gym_entry import KEY, SOURCE

COLUMNS = ("question", "answer", KEY)
_DEFAULTS = {"size": "500", "seed": "0"}
_OF_SIZE = frozenset(_DEFAULTS)
_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from scheduler.cli.gym_rows import main; main(sys.argv[1])"
_FORM = f"{SOURCE}TASK or {SOURCE}TASK?size=1000&seed=1, with more settings of the task as wanted"


class GymSource(msgspec.Struct, frozen=True, kw_only=True):
    """A task and its settings."""

    task: str
    settings: dict[str, str]

    @classmethod
    def parse(cls, source: str) -> "GymSource":
        """Read `reasoning-gym:TASK?size=1000&seed=1`; raises InvalidInput for what is not of that form."""
        task, mark, query = source.removeprefix(SOURCE).partition("?")
        try:
            pairs = parse_qsl(query, strict_parsing=bool(mark), keep_blank_values=True)
        except ValueError as exc:
            raise InvalidInput(f"{source} is not of the form {_FORM}", field="SOURCE") from exc
        settings = dict(pairs)
        if not task or len(settings) != len(pairs):
            what = "names no task" if not task else "has a setting twice"
            raise InvalidInput(f"{source} {what}: it is of the form {_FORM}", field="SOURCE")
        return cls(task=task, settings=_DEFAULTS | settings)


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The task is set up, and rows follow."""


class Made(msgspec.Struct, frozen=True, tag=True):
    """A row."""

    row: dict[str, str]


class Unmade(msgspec.Struct, frozen=True, tag=True):
    """An entry that makes no row; where nothing was opened yet, a task that makes none."""

    reason: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """There are no more."""


Message = Opened | Made | Unmade | Done
_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


@contextmanager
def opened(source: str) -> Iterator[Iterator[dict[str, object] | InvalidInput]]:
    """The rows of a source; raises InvalidInput for a task or settings that there are not, or without the package.

    Read to its end or not, the process is gone with the block.
    """
    wanted = msgspec.json.encode(GymSource.parse(source)).decode()
    # Hashes are fixed by the environment alone. What a task prints is nobody's row.
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, wanted, *(entry or os.getcwd() for entry in sys.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    with process:
        try:
            messages = _messages(process)
            first = next(messages)
            if not isinstance(first, Opened):
                raise InvalidInput(f"{source}: {first.reason if isinstance(first, Unmade) else first}", field="SOURCE")
            yield _rows(messages)
        finally:
            process.kill()


def _messages(process: subprocess.Popen[bytes]) -> Iterator[Message]:
    assert process.stdout is not None, "started with a pipe"
    for line in process.stdout:
        yield _DECODER.decode(line)
    raise InvalidInput(f"the process that makes entries ended with exit code {process.wait()}")


def _rows(messages: Iterator[Message]) -> Iterator[dict[str, object] | InvalidInput]:
    for message in messages:
        match message:
            case Made(row=row):
                yield dict(row)
            case Unmade(reason=reason):
                yield InvalidInput(reason)
            case _:
                return


def main(wanted: str) -> None:
    """The process: writes one message a line to the stdout it was given, and lets nobody else write there."""
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        for message in messages_of(msgspec.json.decode(wanted, type=GymSource)):
            out.write(msgspec.json.encode(message) + b"\n")


def messages_of(source: GymSource) -> Iterator[Message]:
    """Everything that is to be said of a source."""
    try:
        task = gym_task.make(source.task, source.settings)
    except InvalidInput as error:
        yield Unmade(str(error))
        return
    yield Opened()
    kept = {key: value for key, value in source.settings.items() if key not in _OF_SIZE}
    for entry in task:
        try:
            yield Made(_row(source.task, kept, entry))
        except PilotCommitError as error:
            yield Unmade(str(error))
    yield Done()


def _row(task: str, settings: Mapping[str, str], entry: Mapping[str, object]) -> dict[str, str]:
    answer = entry["answer"]
    return {
        "question": str(entry["question"]),
        # Tasks with many right answers name none: their scorers check what was answered.
        "answer": "" if answer is None else str(answer),
        KEY: gym_entry.write(task, settings, entry),
    }
