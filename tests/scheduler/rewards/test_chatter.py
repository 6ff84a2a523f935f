"""What rewards print, as log lines."""

import asyncio
from collections.abc import Sequence

from structlog.testing import capture_logs

from scheduler.rewards.chatter import relay


async def _relayed(pieces: Sequence[bytes]) -> list[str]:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    with capture_logs() as lines:
        await relay(reader, 7)
    return [str(line.get("text", line["event"])) for line in lines]


async def test_every_line_becomes_one_log_line_however_it_is_cut() -> None:
    assert await _relayed([b"on", b"e\ntwo\nthr", b"ee"]) == ["one", "two", "three"]


async def test_a_line_that_looks_like_ours_is_text_within_ours() -> None:
    forged = '{"event": "run_ended"}'
    assert await _relayed([forged.encode() + b"\n"]) == [forged]


async def test_what_is_printed_without_end_is_cut_and_then_silenced() -> None:
    (long,) = await _relayed([b"x" * 100_000 + b"\n"])
    assert len(long) == 1000
    many = await _relayed([b"line\n" * 5000])
    assert len(many) == 1001
    assert many[-1] == "reward_silenced"


async def test_bytes_that_are_no_text_are_shown_as_far_as_they_are() -> None:
    assert await _relayed([b"caf\xe9\n"]) == ["caf\ufffd"]
