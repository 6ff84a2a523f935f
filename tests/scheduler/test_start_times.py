"""How long a server takes to start is known from the last time."""

from pathlib import Path

import pytest

from scheduler.start_times import StartTimes

MODEL, OTHER = Path("/models/small"), Path("/models/large")


def test_the_first_start_says_that_it_does_not_know(tmp_path: Path) -> None:
    times = StartTimes(tmp_path / "starts.json", model=MODEL)
    assert "longer for large models" in times.expected()
    assert times.told(10.0) == "SGLang is loading the model: 10 s so far"


def test_the_next_start_says_how_long_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "starts.json"
    StartTimes(path, model=MODEL).keep(42.0)
    again = StartTimes(path, model=MODEL)
    assert again.expected() == "it took 42 s the last time"
    assert again.told(10.0).endswith("10 s so far, about 32 s left")
    assert again.told(50.0).endswith("50 s so far, 8 s longer than last time")


def test_every_model_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "starts.json"
    StartTimes(path, model=MODEL).keep(42.0)
    StartTimes(path, model=OTHER).keep(300.0)
    assert [StartTimes(path, model=model).expected() for model in (MODEL, OTHER)] == [
        "it took 42 s the last time",
        "it took 300 s the last time",
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": "b"}', b"\xff"])
def test_a_file_that_makes_no_sense_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "starts.json"
    path.write_bytes(content)
    times = StartTimes(path, model=MODEL)
    assert "longer for large models" in times.expected()
    times.keep(5.0)
    assert StartTimes(path, model=MODEL).expected() == "it took 5 s the last time"
