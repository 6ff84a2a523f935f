"""Ranks hear what rank 0 says and add up alike; one that is gone ends the others, and never hangs them."""

import os
from pathlib import Path

import pytest
import torch

from learner.ranks import ALONE, LAUNCHED, Ranks, joined
from scheduler.core.errors import LearnerError
from tests.learner.launch import Failed, on_ranks, outcomes_on_ranks

CPU = torch.device("cpu")


def conversation(ranks: Ranks) -> tuple[list[bytes], list[float]]:
    heard = [ranks.told(content if ranks.leads else b"not mine to say") for content in (b"first", b"", b"\0second")]
    with ranks.in_turn():
        pass
    ranks.meet()
    return heard, ranks.total([ranks.index + 1, 0.25])


def test_all_hear_rank_0_and_have_the_same_sums() -> None:
    assert on_ranks(2, conversation) == [([b"first", b"", b"\0second"], [3.0, 0.5])] * 2


def turns(ranks: Ranks, path: Path) -> None:
    with ranks.in_turn(), path.open("a") as file:
        for word in ("in", "out"):
            file.write(f"{ranks.index} {word}, ")
            file.flush()


def test_one_is_through_before_the_next_has_its_turn(tmp_path: Path) -> None:
    on_ranks(3, turns, tmp_path / "turns")
    assert (tmp_path / "turns").read_text() == "0 in, 0 out, 1 in, 1 out, 2 in, 2 out, "


def bereft(ranks: Ranks) -> None:
    """Rank 1 dies like a process that is out of memory: at once, without a word."""
    if ranks.index == 1:
        os._exit(1)
    with ranks.together("add up"):
        ranks.total([1.0])


def test_a_rank_that_dies_ends_the_others_with_an_error_that_says_what_to_do() -> None:
    left, died = outcomes_on_ranks(2, bereft)
    assert died == Failed(text="")
    assert isinstance(left, Failed)
    assert "LearnerError: rank 0 of 2 could not add up" in left.text
    assert "resumes from its last checkpoint" in left.text


def hears_nothing(ranks: Ranks, fifo: Path) -> None:
    """Rank 0 lives and is silent until the other has given up."""
    if ranks.leads:
        fifo.read_text()
        os._exit(0)
    try:
        with ranks.together("hear from rank 0"):
            ranks.told()
    finally:
        fifo.write_text("gave up")


def test_a_rank_that_is_silent_for_too_long_is_given_up(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    _, gave_up = outcomes_on_ranks(2, hears_nothing, fifo, timeout_s=1.0)
    assert isinstance(gave_up, Failed)
    assert "rank 1 of 2 could not hear from rank 0" in gave_up.text


def test_alone_every_call_answers_at_once_and_errors_stay_what_they_are() -> None:
    assert ALONE.leads
    assert ALONE.told(b"said") == b"said"
    assert ALONE.total([1.0, 2.5]) == [1.0, 2.5]
    ALONE.meet()
    with ALONE.in_turn(), pytest.raises(RuntimeError, match="mine"), ALONE.together("work"):
        raise RuntimeError("mine")


@pytest.mark.parametrize("environ", [{}, {"RANK": "1", "WORLD_SIZE": "2"}, {LAUNCHED: "x", "WORLD_SIZE": "1"}])
def test_without_a_torchrun_of_several_there_is_no_group(environ: dict[str, str]) -> None:
    with joined(environ, CPU, timeout_s=1.0) as ranks:
        assert ranks is ALONE
    assert not torch.distributed.is_initialized()


def test_a_rank_without_a_gpu_of_its_own_is_told_so() -> None:
    environ = {LAUNCHED: "x", "WORLD_SIZE": "999", "RANK": "998", "LOCAL_RANK": "998"}
    with (
        pytest.raises(LearnerError, match="local rank 998 has no GPU"),
        joined(environ, torch.device("cuda"), timeout_s=1),
    ):
        pass
