"""The tables of an export, as docs/export.md has them.

Owns: that text, made from `scheduler.core.export`; a test holds the document to it.
"""

import sys

from scheduler.core.export import COLUMNS, ExportTable, Kind

_IN_PARQUET = {
    Kind.TEXT: "string",
    Kind.COUNT: "int64",
    Kind.NUMBER: "double",
    Kind.FLAG: "bool",
    Kind.MOMENT: "timestamp[us, UTC]",
}


def reference() -> str:
    """Each table with its columns."""
    return "\n".join(_table(table) for table in ExportTable)


def _table(table: ExportTable) -> str:
    rows = "".join(
        f"| `{column.name}` | {_IN_PARQUET[column.kind]}{', may be null' if column.may_be_missing else ''} "
        f"| {column.meaning} |\n"
        for column in COLUMNS[table]
    )
    return f"### {table}\n\n| column | type | means |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(reference())
