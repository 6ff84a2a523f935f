"""`pilotcommit export`: a run as files.

Owns: the command, and asking for page after page. Never looks into a row.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType

from scheduler.cli.export_files import FileFormat, Rows, opened
from scheduler.cli.names import RunId
from scheduler.cli.tables import grid
from scheduler.cli.terminal import DEFAULT_URL, AsJson, Url, talk
from scheduler.client import Client
from scheduler.core.errors import InvalidInput, PilotCommitError
from scheduler.core.export import FORMAT, ExportTable

_TIMEOUT_S = 120.0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a table, as the API answers it."""

    format: int
    rows: list[dict[str, object]]
    after: str | None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    table: ExportTable
    file: str
    rows: int
    bytes: int


def export(
    run_id: RunId,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go; it is made if missing.")],
    tables: Annotated[
        list[ExportTable] | None, typer.Option("--table", help="Only this one; repeatable. By default all.")
    ] = None,
    file_format: Annotated[FileFormat, typer.Option("--format", help="What is written.")] = FileFormat.PARQUET,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Write a run's ledger, prompts, histories, groups and completions to files, each whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidInput(f"{folder} cannot be made: {exc.strerror}", field="FOLDER") from exc
    with talk(url, as_json, timeout_s=_TIMEOUT_S) as terminal:
        wanted = tables or list(ExportTable)
        written = [_write(terminal.client, run_id, table, folder, file_format) for table in wanted]
        terminal.show(msgspec.to_builtins(written), list[Written], _table)


def _write(client: Client, run_id: str, table: ExportTable, folder: Path, file_format: FileFormat) -> Written:
    path, num_rows = folder / f"{table}.{file_format}", 0
    with opened(path, table, file_format, run_id=run_id) as write:
        for rows in pages(client, run_id, table):
            write(rows)
            num_rows += len(rows)
    return Written(table=table, file=str(path), rows=num_rows, bytes=path.stat().st_size)


def pages(client: Client, run_id: str, table: ExportTable) -> Iterator[Rows]:
    """The rows of a table, page after page; raises PilotCommitError for a scheduler with other columns."""
    after: str | None = ""
    while after is not None:
        page = msgspec.convert(client.export(run_id, table, after=after), Page)
        if page.format != FORMAT:
            raise PilotCommitError(
                f"the scheduler exports format {page.format}, this is the pilotcommit of {FORMAT}: use its version"
            )
        yield page.rows
        after = page.after


def _table(found: list[Written]) -> RenderableType:
    return grid(
        ("table", ">rows", ">bytes", "file"),
        ((each.table.value, f"{each.rows:,}", f"{each.bytes:,}", each.file) for each in found),
        empty="nothing was written",
    )
