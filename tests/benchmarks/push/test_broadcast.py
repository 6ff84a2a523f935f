"""The bare broadcast brings the weights from one process to another, or fails."""

from pathlib import Path

import pytest

from benchmarks.push.broadcast import bare_broadcasts
from scheduler.core.errors import ServerUnavailable
from tests.tiny_model import write_tiny_model


async def test_every_broadcast_is_timed_but_the_first_and_brings_the_files_bytes(tmp_path: Path) -> None:
    # Its receiver ends with an error if what it holds at the end is not what the file holds.
    seconds = await bare_broadcasts(write_tiny_model(tmp_path / "model"), times=3)
    assert len(seconds) == 3
    assert all(0 < each < 60 for each in seconds)


async def test_a_broadcast_of_nothing_is_an_error_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    with pytest.RaisesGroup(ServerUnavailable, allow_unwrapped=True, flatten_subgroups=True):
        await bare_broadcasts(tmp_path, times=1)
