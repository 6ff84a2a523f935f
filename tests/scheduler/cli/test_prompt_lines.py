"""The lines that are sent of a source, and what was refused before."""

from pathlib import Path

import msgspec
import pytest
import typer

from scheduler.cli.columns import Columns
from scheduler.cli.prompt_lines import MAX_REFUSALS, Refusals, opened
from tests.scheduler.cli.files import make_gsm8k, write_lines, write_parquet

QUESTION = Columns(text="question")


def lines_of(
    source: Path, columns: Columns = QUESTION, *, limit: int | None = None
) -> tuple[list[bytes], list[tuple[int, str]]]:
    with opened(str(source), columns, split=None, limit=limit) as sent:
        lines = list(sent.lines)
    return lines, [(refusal.line, refusal.reason) for refusal in sent.refusals.told]


def test_without_columns_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_bytes(b'{"text":  "1"}\n\nnot even JSON\n{"id": 1}')
    assert lines_of(path, Columns()) == ([b'{"text":  "1"}\n', b"\n", b"not even JSON\n", b'{"id": 1}'], [])
    assert lines_of(path, Columns(), limit=1) == ([b'{"text":  "1"}\n'], [])


def test_a_row_that_makes_no_line_is_sent_as_an_empty_one(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "rows.jsonl", [{"question": "1"}, {"query": "2"}, {"question": None}, {"question": "4"}]
    )
    with path.open("a") as more:
        more.write("\n{\n")
    lines, refused = lines_of(path)
    assert lines == [b'{"text":"1"}', b"", b"", b'{"text":"4"}', b"", b""]
    assert refused[:2] == [
        (2, "no column 'question': there are query"),
        (3, "column 'question' has no value"),
    ]
    assert (refused[2][0], "not a JSON object" in refused[2][1]) == (6, True)


def test_rows_of_parquet_become_lines(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "sums.parquet", make_gsm8k(range(3)))
    columns = Columns(text="question", answer="answer", answer_after="####")
    lines, refused = lines_of(path, columns, limit=2)
    assert [msgspec.json.decode(line) for line in lines] == [
        {"text": "0+1?", "answer": "1"},
        {"text": "1+1?", "answer": "2"},
    ]
    assert refused == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_is_no_prompts_until_its_columns_are_said(tmp_path: Path, suffix: str) -> None:
    path = write_parquet(tmp_path / f"sums{suffix}", make_gsm8k(range(3)))
    if suffix == ".csv":
        path.write_text("question,answer\n1,2\n")
    with pytest.raises(typer.BadParameter, match=r"say with --text, .* has the columns question, answer"):
        lines_of(path, Columns())


def test_options_are_checked_before_the_source_is_opened(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="exactly one"):
        lines_of(tmp_path / "nowhere.parquet", Columns(answer="a"))


def test_refusals_stand_among_those_of_the_api() -> None:
    refusals = Refusals()
    theirs = {"line": 2, "id": "b", "reason": "too long"}
    answer = {"type": "urn:x", "status": 422, "detail": "1 line", "added": 7, "unchanged": 0, "refused": [theirs]}
    assert refusals.beside(answer) is answer
    refusals.refuse(3, "no value")
    refusals.refuse(1, "no column")
    assert refusals.beside(answer) == {
        "added": 7,
        "unchanged": 0,
        "refused": [
            {"line": 1, "id": None, "reason": "no column"},
            theirs,
            {"line": 3, "id": None, "reason": "no value"},
        ],
    }


def test_no_more_refusals_are_told_of_than_the_api_tells_of() -> None:
    refusals = Refusals()
    for number in range(MAX_REFUSALS + 3):
        refusals.refuse(2 * number, "no value")
    theirs = [{"line": 1, "id": None, "reason": "too long"}]
    answer = refusals.beside({"added": 0, "unchanged": 0, "refused": theirs, "more_refused": 5})
    told = msgspec.convert(answer["refused"], list[dict[str, object]])
    assert (len(told), told[1], answer["more_refused"]) == (MAX_REFUSALS, theirs[0], 9)
