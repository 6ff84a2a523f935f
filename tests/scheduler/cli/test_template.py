"""A text with places for columns."""

import pytest
import typer

from scheduler.cli.template import Template

ROW = {"question": "1+1={x}\\n", "extra.level": "easy"}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        (r"Question: {question}\nAnswer:", "Question: 1+1={x}\\n\nAnswer:"),
        ("{question}", "1+1={x}\\n"),
        ("{extra.level}{extra.level}", "easyeasy"),
        (r"\boxed{{}} {extra.level}", r"\boxed{} easy"),
        (r"\\nabla {extra.level}", r"\nabla easy"),
        ("a\n{extra.level}", "a\neasy"),
    ],
)
def test_columns_stand_where_they_are_named_and_nothing_in_them_is_read_again(template: str, filled: str) -> None:
    assert Template.parse(template).fill(lambda column: ROW[column]) == filled


def test_it_knows_its_columns() -> None:
    assert Template.parse("{a}: {b.c} {a}").columns == ("a", "b.c", "a")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("no column", "names no column"),
        ("", "names no column"),
        ("{{question}}", "names no column"),
        ("{", "stand for braces"),
        ("}", "stand for braces"),
        ("{question", "stand for braces"),
        ("{}", "a column's name and nothing else"),
        ("{question:>9}", "a column's name and nothing else"),
        ("{question!r}", "a column's name and nothing else"),
    ],
)
def test_any_other_form_is_refused(template: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said) as refused:
        Template.parse(template)
    assert refused.value.param_hint == "--template"
