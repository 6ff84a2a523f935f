"""Records of finished runs."""

from pathlib import Path

import pytest

from benchmarks.target.record import read, read_all, write
from scheduler.core.errors import InvalidInput
from tests.benchmarks.target.records import make_record


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = make_record((0.4, 0.45, 0.5), evaluation_s=2.5)
    write(record, tmp_path / "equal_mixed" / "grpo-0.jsonl")
    assert read(tmp_path / "equal_mixed" / "grpo-0.jsonl") == record


def test_nothing_but_the_record_is_left_after_writing(tmp_path: Path) -> None:
    write(make_record(), tmp_path / "grpo-0.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["grpo-0.jsonl"]


def test_a_record_without_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grpo-0.jsonl"
    write(make_record(), path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(InvalidInput, match="no end"):
        read(path)


def test_a_file_that_is_no_record_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"kind":"unheard of"}\n')
    with pytest.raises(InvalidInput, match=r"other\.jsonl"):
        read(tmp_path / "other.jsonl")


def test_records_of_a_folder_are_in_the_order_of_name_and_seed(tmp_path: Path) -> None:
    for name, seed in (("grpo", 1), ("adaptive", 10), ("grpo", 0), ("adaptive", 2)):
        write(make_record(name=name, seed=seed), tmp_path / f"{name}-{seed}.jsonl")
    found = [(record.header.name, record.header.seed) for record in read_all(tmp_path)]
    assert found == [("adaptive", 2), ("adaptive", 10), ("grpo", 0), ("grpo", 1)]
