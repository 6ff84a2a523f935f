"""docs/export.md has the tables that an export has."""

from pathlib import Path

from deploy.documentation.export_reference import reference
from scheduler.core.export import COLUMNS, FORMAT

DOCUMENT = Path(__file__).parents[3] / "docs" / "export.md"


def test_every_column_is_in_the_document_as_it_is() -> None:
    asked = "put what `python -m deploy.documentation.export_reference` prints there"
    assert reference() in DOCUMENT.read_text(), asked
    assert f"Format {FORMAT}." in DOCUMENT.read_text()


def test_a_column_is_in_its_table_once_and_says_what_it_means() -> None:
    for table, columns in COLUMNS.items():
        assert len({column.name for column in columns}) == len(columns), table
        assert all(column.meaning for column in columns), table
