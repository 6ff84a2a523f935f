"""What stands in a column of a row."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from scheduler.cli import cells
from scheduler.core.errors import InvalidInput

ROW = {
    "a": "x",
    "b": {"c": {"d": "deep"}, "e": ["first", {"f": "in a list"}]},
    "b.c": "of that very name",
    "none": None,
    "nan": float("nan"),
    "bytes": b"1+1=",
    "list": "[1, 2]",
    "text": "[1, 2",
}


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("a", "x"),
        ("b.c.d", "deep"),
        ("b.e.0", "first"),
        ("b.e.1.f", "in a list"),
        ("b.c", "of that very name"),
        ("bytes", "1+1="),
    ],
)
def test_a_column_is_found_by_its_name_or_else_by_dots(column: str, found: str) -> None:
    assert cells.text(ROW, column) == found


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("z", "no column 'z': there are a, b, b.c, none, nan, bytes, list, text"),
        ("b.z", "no column 'b.z': 'b' has c, e"),
        ("b.e.2", r"no column 'b.e.2': 'b.e' is a list of 2"),
        ("b.e.-1", r"no column 'b.e.-1': 'b.e' is a list of 2"),
        ("a.z", "no column 'a.z': 'a' has no columns in it"),
        ("none", "column 'none' has no value"),
        ("nan", "column 'nan' has no value"),
        ("b", "column 'b' is an object, with c, e: name one, as in b.NAME"),
        ("b.e", r"column 'b.e' is a list: name one of it, as in b.e.0"),
    ],
)
def test_a_cell_that_is_no_text_says_what_there_is(column: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        cells.text(ROW, column)
    assert refused.value.field == column


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (7, "7"),
        (10**30, "1" + "0" * 30),
        (0.5, "0.5"),
        (True, "true"),
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        ("", ""),
    ],
)
def test_a_value_is_written_as_people_write_it(value: object, written: str) -> None:
    assert cells.text({"a": value}, "a") == written


def test_a_note_may_be_anything_or_nothing() -> None:
    assert cells.note(ROW, "b") == '{"c": {"d": "deep"}, "e": ["first", {"f": "in a list"}]}'
    assert cells.note(ROW, "none") is None
    with pytest.raises(InvalidInput, match="no column 'z'"):
        cells.note(ROW, "z")


def test_a_list_may_be_json_text() -> None:
    assert cells.items(ROW, "list") == [1, 2]
    assert cells.items(ROW, "b.e") == ["first", {"f": "in a list"}]
    for column in ("text", "a", "b"):
        with pytest.raises(InvalidInput, match="is not a list"):
            cells.items(ROW, column)


def test_many_columns_are_told_of_in_a_line() -> None:
    assert cells.in_a_line(str(number) for number in range(40)).endswith("28, 29 and 10 more")
    assert cells.in_a_line([]) == "none"
