"""The frames of the group stream: both ends of the wire between scheduler and learner.

Owns: the frame types, their encoding as length-prefixed msgpack (learners) and NDJSON (people), and the decoder.
Never does I/O. Invariant: a frame carries the format number, and a reader refuses a format it does not know.

On the wire a msgpack frame is a 4-byte big-endian length followed by that many bytes. In it the token ids of a rollout
are the bytes of little-endian 32-bit integers and its log-probs those of little-endian 32-bit floats; NDJSON has both
as lists of numbers.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import msgspec

from scheduler.core.errors import InvalidInput
from scheduler.core.packed import numbers_of, pack, spell_out, unpack
from scheduler.core.types import Group
from scheduler.core.unreadable import UNREADABLE

FORMAT = 2
MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH_BYTES = 4
MSGPACK = "application/x-msgpack"
NDJSON = "application/x-ndjson"


def check_readable(formats: Collection[int]) -> None:
    """Raise InvalidInput unless a learner that reads `formats` can read what this scheduler writes."""
    if FORMAT not in formats:
        known = ", ".join(map(str, sorted(formats)))
        older = "learner" if max(formats, default=0) < FORMAT else "scheduler"
        raise InvalidInput(
            f"this scheduler writes frame format {FORMAT}; the learner reads {known or 'none'}: upgrade the {older}",
            field="formats",
        )


def check_written(written: int) -> None:
    """Raise InvalidInput unless this reader can read what a scheduler writes."""
    if written != FORMAT:
        older = "scheduler" if written < FORMAT else "learner"
        raise InvalidInput(
            f"the scheduler writes frame format {written}; this reader knows {FORMAT}: upgrade the {older}",
            field="format",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What a learner needs to know once attached."""

    run_id: str
    version: int
    """The newest weight version; 0 before any. The learner publishes its own as the next one."""
    batch_size: int
    max_staleness: int
    max_steps: int | None
    temperature: float
    """Of sampling: behaviour log-probs are at it."""
    heartbeat_s: float
    """Longest silence on the group stream."""
    format: int = 0
    """Of the frames that the scheduler writes; 0 where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFrame:
    """One completed group, in a batch still being delivered."""

    step: int
    """The step whose batch it belongs to."""
    group: Group


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedGroupFrame:
    """A group frame as it is sent: its group is passed on as it was stored, and read by the learner only."""

    step: int
    group: bytes
    """msgpack of a Group."""

    def unpacked(self) -> GroupFrame:
        """What a reader makes of it."""
        return GroupFrame(step=self.step, group=unpack(self.group, Group))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFrame:
    """All groups of a step have been sent: train exactly these."""

    step: int
    group_ids: tuple[str, ...]
    policy_version: int
    """The weight version that the learner's policy has now: staleness is measured against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatFrame:
    """Nothing to send, still alive; `waiting_for` says what the run waits for."""

    waiting_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalFrame:
    """The stream is over: checkpoint, report, stop."""

    state: str
    reason: str


Frame = GroupFrame | BatchFrame | HeartbeatFrame | FinalFrame
"""What is read."""
Sent = PackedGroupFrame | BatchFrame | HeartbeatFrame | FinalFrame
"""What is written."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frame as it travels: a format number and exactly one of the frame kinds."""

    format: int
    group: GroupFrame | None = None
    batch: BatchFrame | None = None
    heartbeat: HeartbeatFrame | None = None
    final: FinalFrame | None = None


_DECODER = msgspec.msgpack.Decoder(Envelope, dec_hook=numbers_of)


class _HeadFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A group frame whose group is yet to come."""

    step: int
    group: msgspec.Raw = msgspec.Raw(b"")


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope of a group that is not looked into, up to where the group begins."""

    format: int
    group: _HeadFrame


def _envelope(frame: Frame) -> Envelope:
    match frame:
        case GroupFrame():
            return Envelope(format=FORMAT, group=frame)
        case BatchFrame():
            return Envelope(format=FORMAT, batch=frame)
        case HeartbeatFrame():
            return Envelope(format=FORMAT, heartbeat=frame)
        case FinalFrame():
            return Envelope(format=FORMAT, final=frame)


def encode_parts(frame: Frame | Sent) -> tuple[bytes, ...]:
    """One length-prefixed msgpack frame, its parts to be sent one after the other: a group passed on is not copied."""
    parts: tuple[bytes, ...]
    if isinstance(frame, PackedGroupFrame):
        # In the envelope the group comes last.
        parts = pack(_Head(format=FORMAT, group=_HeadFrame(step=frame.step))), frame.group
    else:
        parts = (pack(_envelope(frame)),)
    return sum(map(len, parts)).to_bytes(_LENGTH_BYTES, "big"), *parts


def encode(frame: Frame | Sent) -> bytes:
    """One length-prefixed msgpack frame."""
    return b"".join(encode_parts(frame))


def encode_line(frame: Frame | Sent) -> bytes:
    """One NDJSON line."""
    read = frame.unpacked() if isinstance(frame, PackedGroupFrame) else frame
    return spell_out(_envelope(read)) + b"\n"


class FrameDecoder:
    """Turns a byte stream, cut anywhere, back into frames. Raises InvalidInput on anything that is not a frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame completed by `data`."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                raise InvalidInput(f"a frame of {length} bytes: more than {MAX_FRAME_BYTES}; not a group stream")
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as received:
                frame = _decode(received[_LENGTH_BYTES:end])
            del self._buffer[:end]
            yield frame


def _decode(body: memoryview) -> Frame:
    try:
        envelope = _DECODER.decode(body)
    except UNREADABLE as exc:
        raise InvalidInput(f"not a group stream frame: {exc}") from exc
    check_written(envelope.format)
    frame = envelope.group or envelope.batch or envelope.heartbeat or envelope.final
    if frame is None:
        raise InvalidInput("an empty frame: it carries none of group, batch, heartbeat, final")
    return frame
