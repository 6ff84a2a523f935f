"""TRL's lines, and the record that they make."""

import msgspec
import pytest

from benchmarks.end_to_end.lines import Generated, read, record_of
from scheduler.core.errors import InvalidInput
from tests.benchmarks.end_to_end.records import OVER, make_step, make_trl
from tests.benchmarks.target.records import make_record


def test_lines_are_read_back_and_a_torn_one_waits() -> None:
    lines = [make_step(0, 0.4), Generated(generator="generate", rollouts=64, tokens=320, seconds=10.0), OVER]
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    assert read(text + b'{"kind": "st') == lines


def test_a_line_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="none"):
        read(b'{"kind": "other"}\n')


def test_a_run_without_its_end_makes_no_record() -> None:
    with pytest.raises(InvalidInput, match="no end"):
        record_of(make_record().header, [make_step(0, 0.4), make_step(1)])


def test_evaluations_are_in_the_seconds_that_passed_and_not_in_those_of_training() -> None:
    versions = make_trl(0.4, 0.45, 0.5).versions
    assert [(line.elapsed_s, line.evaluation_s) for line in versions] == [(0.0, 0.0), (30.0, 0.0), (65.0, 5.0)]


def test_the_parts_are_of_each_step_alone() -> None:
    record = make_trl(0.4, 0.45, 0.5)
    assert [line.parts["generation"] for line in record.versions] == [0.0, 10.0, 10.0]
    assert [line.accuracy for line in record.evaluations] == [0.4, 0.45, 0.5]
