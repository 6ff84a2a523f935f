"""Rows of files and datasets, a few at a time and each with its number."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pytest
import typer
from pyarrow import parquet

from scheduler.cli.sources import Reading, opened
from scheduler.core.errors import InvalidInput
from tests.scheduler.cli.files import make_gsm8k, make_verl, write_lines, write_parquet


def read(source: object, *wanted: str, split: str | None = None, limit: int | None = None) -> list[Reading]:
    with opened(str(source), split=split, limit=limit) as found:
        return list(found.read(wanted))


def columns(source: object, *, split: str | None = None) -> Sequence[str] | None:
    with opened(str(source), split=split, limit=None) as found:
        return found.columns


def reasons(readings: Sequence[Reading]) -> dict[int, str]:
    return {number: str(each) for number, each in enumerate(readings, start=1) if isinstance(each, InvalidInput)}


def test_parquet_is_read_by_its_columns_across_row_groups(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "verl.parquet", make_verl(range(1000)), row_group_size=300)
    assert columns(path) == ("data_source", "prompt", "reward_model", "extra_info")
    rows = read(path, "prompt", "reward_model")
    assert len(rows) == 1000
    assert rows[700] == {
        "prompt": [{"role": "user", "content": "700+1="}],
        "reward_model": {"style": "rule", "ground_truth": "701"},
    }
    assert len(read(path, "prompt", limit=257)) == 257


def test_a_large_row_group_is_never_held_whole(tmp_path: Path) -> None:
    # 64 MiB that do not compress, in pages of a MiB: a page is read whole, and a dictionary is one.
    texts = pyarrow.table({"text": [os.urandom(32 << 10).hex() for _ in range(1024)]})
    parquet.write_table(
        texts, tmp_path / "large.parquet", use_dictionary=False, data_page_size=1 << 20, write_batch_size=16
    )
    del texts
    before = pyarrow.total_allocated_bytes()
    with opened(str(tmp_path / "large.parquet"), split=None, limit=None) as found:
        most = max(pyarrow.total_allocated_bytes() - before for _ in found.read(["text"]))
    # Two batches of 256 rows, and what is read ahead.
    assert most < 40 << 20


def test_a_column_with_a_dot_in_its_name_is_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "dots.parquet", [{"a.b": "1", "a": {"b": "2", "c": "3"}}])
    [row] = read(path, "a.b")
    assert isinstance(row, dict)
    assert row["a.b"] == "1"
    assert read(path, "a") == [{"a": {"b": "2", "c": "3"}}]


def test_parquet_that_breaks_off_says_after_which_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "broken.parquet", make_gsm8k(range(600)), row_group_size=300)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"breaks off after row \d+: .*adding them again changes nothing"):
        read(path, "question", "answer")


def test_csv_is_read_with_its_quotes_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "sums.CSV"
    path.write_bytes('\ufeffquestion,answer\r\n"1, and\n""2""",3\r\n\r\nä,\r\n1\r\n4,5\r\n'.encode())
    assert columns(path) == ("question", "answer")
    rows = read(path)
    assert rows[:3] == [{"question": '1, and\n"2"', "answer": "3"}, None, {"question": "ä", "answer": None}]
    assert reasons(rows) == {4: "it has 1 cells under 2 columns"}
    assert rows[4] == {"question": "4", "answer": "5"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not a name for each column"),
        (b"a,a\n1,2\n", "not a name for each column"),
        (b"\xff\xfe,b\n", "not CSV in UTF-8"),
        (b'"a\n', "not CSV in UTF-8"),
    ],
)
def test_csv_without_columns_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "sums.csv"
    path.write_bytes(text)
    with pytest.raises(typer.BadParameter, match=said):
        columns(path)


@pytest.mark.parametrize("end", [b'"no end of it\n3\n', b"\xff\n", b"x" * (16 << 20) + b"x\n"])
def test_csv_that_breaks_off_says_after_which_row(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "sums.csv"
    path.write_bytes(b"a\n1\n2\n" + end)
    with pytest.raises(InvalidInput, match=r"sums\.csv breaks off after row 2: "):
        read(path)


def test_lines_of_json_each_have_their_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "sums.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"b": {"c": null}}\n{"a": \n[1]\n"a"\n{"a": "\xff"}\n{"d": 2}')
    assert columns(path) is None
    rows = read(path)
    assert [row for row in rows if not isinstance(row, InvalidInput)] == [{"a": 1}, None, {"b": {"c": None}}, {"d": 2}]
    assert reasons(rows).keys() == {4, 5, 6, 7}
    assert "jq -c" in reasons(rows)[5]
    assert len(read(path, limit=3)) == 3


def test_stdin_has_lines_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n{"a": 2}\n')))
    assert read("-") == [{"a": 1}, {"a": 2}]


def test_a_dataset_is_streamed_by_split_and_configuration(tmp_path: Path) -> None:
    write_parquet(tmp_path / "main" / "train-0.parquet", make_gsm8k(range(300)))
    write_parquet(tmp_path / "main" / "train-1.parquet", make_gsm8k(range(300, 400)))
    write_parquet(tmp_path / "main" / "test-0.parquet", make_gsm8k(range(400, 405)))
    write_parquet(tmp_path / "other" / "train-0.parquet", make_gsm8k([7]))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n"
        "  - split: test\n    path: main/test-*\n"
        "- config_name: other\n  data_files: other/*\n---\n"
    )
    source = f"hf:{tmp_path}:main"
    assert set(columns(source) or ()) == {"question", "answer"}
    rows = read(source, "question")
    assert (len(rows), rows[399]) == (400, {"question": "399+1?"})
    assert len(read(source, "question", split="test")) == 5
    assert len(read(source, "question", limit=3)) == 3
    assert read(f"hf:{tmp_path}:other", "question") == [{"question": "7+1?"}]
    with pytest.raises(typer.BadParameter, match=r"Config name is missing.*main"):
        columns(f"hf:{tmp_path}")
    with pytest.raises(typer.BadParameter, match=r"Bad split: dev.*train"):
        columns(source, split="dev")


def test_a_dataset_of_lines_of_json_has_columns(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", make_verl(range(3)))
    source = f"hf:{tmp_path}"
    assert set(columns(source) or ()) == {"data_source", "prompt", "reward_model", "extra_info"}
    assert read(source, "reward_model")[2] == {"reward_model": {"style": "rule", "ground_truth": "3"}}


def test_a_dataset_that_breaks_off_says_after_which_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", make_gsm8k(range(5)))
    broken = write_parquet(tmp_path / "train-1.parquet", make_gsm8k(range(5, 8)))
    with opened(f"hf:{tmp_path}", split=None, limit=None) as found:
        rows = found.read(["question"])
        assert next(rows) == {"question": "0+1?"}
        broken.write_bytes(b"PAR1 no more")
        with pytest.raises(InvalidInput, match="breaks off after row 5: "):
            list(rows)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.parquet", "No such file"),
        ("nowhere.csv", "No such file"),
        ("nowhere.jsonl", "No such file"),
        ("", "Is a directory"),
        ("sums.parquet", "Parquet magic bytes not found"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "sums.parquet").write_bytes(b"text, and quite a few bytes of it")
    with pytest.raises(typer.BadParameter, match=said) as refused:
        columns(tmp_path / name)
    assert (refused.value.param_hint, str(tmp_path / name) in str(refused.value)) == ("SOURCE", True)


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="a file has no splits"):
        columns(tmp_path / "sums.csv", split="train")


@pytest.mark.parametrize(("source", "module"), [("sums.parquet", "pyarrow"), ("hf:sums", "datasets")])
def test_what_reads_it_may_be_missing(monkeypatch: pytest.MonkeyPatch, source: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    said = rf"{source} is read with {module}, which is not installed: pip install 'pilotcommit\[data\]'"
    with pytest.raises(InvalidInput, match=said):
        columns(source)
