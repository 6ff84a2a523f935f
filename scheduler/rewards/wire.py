"""The wire between the reward pool and its worker processes: both ends of one private pipe.

Owns: the task, its replies and their framing (4-byte big-endian length, then msgpack). Never does I/O.
Invariant: a task is answered by `Loaded` and then one `Judged` or `Failed` per job in order, or by one
`Refused`.
"""

from collections.abc import Iterator

import msgspec

from scheduler.core.errors import InvalidInput
from scheduler.core.unreadable import UNREADABLE
from scheduler.rewards.isolation import Isolation
from scheduler.rewards.spec import RewardJob, RewardSpec

_HEADER_BYTES = 4
MAX_REPLY_BYTES = 1 << 20
"""A reply is a number or a short reason: what is longer was not written by our worker but by the reward in it."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Judge these jobs, in order; without jobs, only load the reward."""

    spec: RewardSpec
    jobs: tuple[RewardJob, ...]


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has started, is shut in and reads tasks."""

    isolation: Isolation


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The task's reward is loaded: the time limit of its first job starts here."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The task's reward cannot be loaded; none of its jobs is judged."""

    reason: str


class Judged(msgspec.Struct, frozen=True, tag=True):
    """The next job is judged."""

    reward: float
    correct: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The reward raised on the next job, or answered nonsense."""

    reason: str


Reply = Ready | Loaded | Refused | Judged | Failed

_TASK_DECODER = msgspec.msgpack.Decoder(Task)
_REPLY_DECODER: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Task | Reply) -> bytes:
    """One frame. Raises InvalidInput where a job's metadata is not made of JSON values."""
    try:
        body = msgspec.msgpack.encode(message)
    except (TypeError, OverflowError) as exc:
        raise InvalidInput(f"metadata must be made of JSON values: {exc}", field="metadata") from exc
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


def decode_task(body: bytes) -> Task:
    """The task in a frame's body."""
    return _TASK_DECODER.decode(body)


def body_length(header: bytes | bytearray) -> int:
    """Length of the body that follows a frame's header."""
    return int.from_bytes(header, "big")


class ReplyDecoder:
    """Turns the worker's bytes, cut anywhere, back into replies. Raises InvalidInput for bytes that are none.

    A reward shares the worker's process, so it may have written to the pipe.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Yield every reply completed by `data`."""
        self._buffer += data
        while len(self._buffer) >= _HEADER_BYTES:
            length = body_length(self._buffer[:_HEADER_BYTES])
            if length > MAX_REPLY_BYTES:
                raise InvalidInput(f"a reply of {length:,} bytes: more than {MAX_REPLY_BYTES:,}")
            end = _HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER_BYTES:end])
            del self._buffer[:end]
            try:
                reply = _REPLY_DECODER.decode(body)
            except UNREADABLE as exc:
                raise InvalidInput(f"not a reply of a worker: {exc}") from exc
            yield reply
