"""Additive increase, multiplicative decrease, by a server's own word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.control import Load
from scheduler.fleet.concurrency import adapted

COUNTS = st.integers(0, 600)


def make_load(running: int, waiting: int, usage: float = 0.5) -> Load:
    return Load(num_running=running, num_waiting=waiting, max_running=256, token_usage=usage)


@pytest.mark.parametrize(
    ("capacity", "load", "in_flight", "then"),
    [
        (64, make_load(64, 0), 64, 72),
        (250, make_load(250, 0), 250, 256),
        (64, make_load(40, 0), 40, 64),
        (64, make_load(60, 4), 64, 72),
        (64, make_load(40, 24), 64, 48),
        (64, make_load(60, 4, usage=0.97), 64, 60),
        (64, make_load(63, 0, usage=0.99), 64, 72),
        (48, make_load(32, 32), 64, 48),
        (64, make_load(40, 24), 20, 64),
        (64, make_load(0, 40), 40, 64),
    ],
    ids=[
        "all of it is used",
        "up to the ceiling",
        "what is not used does not grow",
        "a short queue is welcome",
        "a long queue is cut",
        "no lower than what runs",
        "a full cache without a queue is at its best",
        "the last cut has still to show",
        "an old report is not believed",
        "a server that has not begun is not crowded",
    ],
)
def test_what_a_server_says_moves_its_capacity(capacity: int, load: Load, in_flight: int, then: int) -> None:
    assert adapted(capacity, load, in_flight=in_flight, ceiling=256, crowded_before=True) == then


def test_a_crowd_that_was_not_there_at_the_look_before_is_waited_out() -> None:
    assert adapted(64, make_load(32, 32), in_flight=64, ceiling=256, crowded_before=False) == 64


@given(
    capacity=st.integers(1, 256),
    running=COUNTS,
    waiting=COUNTS,
    usage=st.floats(0, 1),
    in_flight=st.integers(0, 300),
    crowded_before=st.booleans(),
)
def test_a_capacity_stays_between_one_and_the_ceiling(
    capacity: int, running: int, waiting: int, usage: float, in_flight: int, crowded_before: bool
) -> None:
    load = make_load(running, waiting, usage)
    then = adapted(capacity, load, in_flight=in_flight, ceiling=256, crowded_before=crowded_before)
    assert 1 <= then <= 256


def test_a_server_with_room_for_forty_settles_there() -> None:
    capacity, seen = 256, []
    for _ in range(60):
        running = min(capacity, 40)
        load = make_load(running, capacity - running)
        capacity = adapted(capacity, load, in_flight=capacity, ceiling=256, crowded_before=True)
        seen.append(capacity)
    assert set(seen[20:]) <= set(range(40, 60))
