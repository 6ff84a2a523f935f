"""Entries of reasoning-gym as rows, from a process of their own."""

import os
import subprocess
import sys

import pytest

from scheduler.cli import gym_rows
from scheduler.cli.gym_rows import Done, GymSource, Opened, Unmade, messages_of
from scheduler.core.errors import InvalidInput
from scheduler.core.types import Judgement
from scheduler.rewards import gym_entry
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import RewardJob, parse_spec

WITH_SETS = ("word_ladder", "ransom_note", "polynomial_multiplication")
"""Tasks whose entries depend on the order of sets."""
PRINT_ROWS = (
    "import sys; from scheduler.cli import gym_rows\nfor source in sys.argv[1:]:\n"
    "    with gym_rows.opened(source) as rows: print(list(rows))"
)


def rows_of(source: str) -> list[dict[str, object]]:
    with gym_rows.opened(source) as rows:
        found = list(rows)
    return [row for row in found if isinstance(row, dict)]


def test_a_task_gives_as_many_rows_as_its_size_and_others_for_another_seed() -> None:
    first = rows_of("reasoning-gym:chain_sum?size=3&seed=1&min_terms=2&max_terms=2")
    assert [set(row) for row in first] == [{"question", "answer", "reasoning_gym"}] * 3
    made = gym_entry.read(first[0])
    assert (made.task, made.settings) == ("chain_sum", {"min_terms": "2", "max_terms": "2"})
    entry = made.thawed()
    assert (entry["question"], entry["answer"]) == (first[0]["question"], first[0]["answer"])
    assert rows_of("reasoning-gym:chain_sum?size=3&seed=2&min_terms=2&max_terms=2") != first


def test_the_rows_of_a_seed_are_the_same_in_every_process() -> None:
    sources = [f"reasoning-gym:{task}?size=4&seed=7" for task in WITH_SETS]
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT_ROWS, *sources],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert printed.pop().count(b"question") >= 4 * len(WITH_SETS)


async def test_two_scorers_that_tell_tuples_from_lists_take_their_own_answers() -> None:
    pool = RewardPool(1)
    rows = [*rows_of("reasoning-gym:arc_agi?size=2"), *rows_of("reasoning-gym:rearc?size=2")]
    jobs = [RewardJob(text=str(row["answer"]), answer="", metadata=row) for row in rows]
    assert await pool.judge(parse_spec("reasoning_gym"), jobs) == [Judgement(reward=1.0, correct=True)] * 4
    await pool.close()


def test_a_task_that_names_no_answer_has_an_empty_one() -> None:
    assert [row["answer"] for row in rows_of("reasoning-gym:graph_color?size=2")] == ["", ""]


def test_a_source_that_is_left_half_read_leaves_no_process() -> None:
    with gym_rows.opened("reasoning-gym:chain_sum?size=1000000") as rows:
        assert isinstance(next(rows), dict)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("reasoning-gym:", "names no task"),
        ("reasoning-gym:?size=1", "names no task"),
        ("reasoning-gym:chain_sum?size", "is not of the form"),
        ("reasoning-gym:chain_sum?seed=1&seed=2", "has a setting twice"),
        ("reasoning-gym:chainsum", "no task 'chainsum': did you mean chain_sum?"),
        ("reasoning-gym:chain_sum?size=0", "chain_sum does not do with size=0, seed=0"),
    ],
)
def test_a_source_that_there_is_not_is_refused_before_anything_is_sent(source: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal, gym_rows.opened(source) as rows:
        next(rows)
    assert reason in str(refusal.value)


def test_what_is_said_of_a_source_begins_and_ends() -> None:
    said = list(messages_of(GymSource.parse("reasoning-gym:chain_sum?size=2")))
    assert [type(message).__name__ for message in said] == ["Opened", "Made", "Made", "Done"]
    assert (said[0], said[-1]) == (Opened(), Done())
    assert [type(message) for message in messages_of(GymSource(task="none", settings={}))] == [Unmade]
