"""The files of an export: Parquet or lines of JSON.

Owns: how rows become a file. Invariants: a file appears under its name only when it is whole; however large it gets,
some tens of megabytes of it are in memory.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scheduler.core.errors import InvalidInput
from scheduler.core.export import COLUMNS, FORMAT, Column, ExportTable, Kind

if TYPE_CHECKING:
    import pyarrow

Rows = Sequence[Mapping[str, object]]
Write = Callable[[Rows], None]
_ROW_GROUP_BYTES, _ROW_GROUP_ROWS = 32 << 20, 100_000


class FileFormat(StrEnum):
    """What is written."""

    PARQUET = "parquet"
    """One file a table, compressed with zstd; needs pyarrow, of the extra `data`."""
    JSONL = "jsonl"
    """A JSON object a line; needs nothing."""


@contextmanager
def opened(path: Path, table: ExportTable, file_format: FileFormat, *, run_id: str) -> Iterator[Write]:
    """Write rows of a table into a file that is there once the block has ended, and not at all if that raises.

    Raises InvalidInput where pyarrow is missing or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    opener = _parquet if file_format is FileFormat.PARQUET else _lines
    try:
        with opener(part, table, run_id) as write:
            yield write
        os.replace(part, path)
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be written: {exc.strerror or exc}", field="FOLDER") from exc
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _lines(part: Path, _table: ExportTable, _run_id: str) -> Iterator[Write]:
    with part.open("wb") as file:
        yield lambda rows: file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
        _to_disk(file.fileno())


@contextmanager
def _parquet(part: Path, table: ExportTable, run_id: str) -> Iterator[Write]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as exc:
        asked = "Parquet is written with pyarrow, which is not installed: pip install 'pilotcommit[data]'"
        raise InvalidInput(f"{asked}, or --format jsonl") from exc
    schema = schema_of(table, run_id=run_id, exported_at=time.time())
    moments = [column.name for column in COLUMNS[table] if column.kind is Kind.MOMENT]
    waiting: list[pyarrow.RecordBatch] = []
    with part.open("wb") as file:
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

            def flush() -> None:
                writer.write_table(pyarrow.Table.from_batches(waiting, schema))
                waiting.clear()

            def write(rows: Rows) -> None:
                exact = [_in_microseconds(row, moments) for row in rows]
                waiting.append(pyarrow.RecordBatch.from_pylist(exact, schema=schema))
                num_rows, num_bytes = sum(b.num_rows for b in waiting), sum(b.nbytes for b in waiting)
                if num_rows >= _ROW_GROUP_ROWS or num_bytes >= _ROW_GROUP_BYTES:
                    flush()

            yield write
            if waiting:
                flush()
        _to_disk(file.fileno())


def schema_of(table: ExportTable, *, run_id: str, exported_at: float) -> "pyarrow.Schema":
    """The schema of a table, with what each column means and where it is from."""
    import pyarrow

    about = {"format": str(FORMAT), "table": table.value, "run": run_id, "exported_at": f"{exported_at:.3f}"}
    return pyarrow.schema(
        [_field(column) for column in COLUMNS[table]],
        metadata={f"pilotcommit.{name}": value for name, value in about.items()},
    )


def _field(column: Column) -> "pyarrow.Field":
    import pyarrow

    types = {
        Kind.TEXT: pyarrow.string(),
        Kind.COUNT: pyarrow.int64(),
        Kind.NUMBER: pyarrow.float64(),
        Kind.FLAG: pyarrow.bool_(),
        Kind.MOMENT: pyarrow.timestamp("us", tz="UTC"),
    }
    return pyarrow.field(
        column.name, types[column.kind], nullable=column.may_be_missing, metadata={"meaning": column.meaning}
    )


def _in_microseconds(row: Mapping[str, object], moments: Sequence[str]) -> dict[str, object]:
    exact = dict(row)
    for name in moments:
        at = exact[name]
        if isinstance(at, float | int):
            exact[name] = round(at * 1e6)
    return exact


def _to_disk(number: int) -> None:
    """A file that was renamed and is empty after a crash of the machine would look whole."""
    os.fsync(number)
