"""Where prompts come from: a file, stdin, a dataset of Hugging Face or a task of reasoning-gym.

Owns: reading rows, a few at a time, and telling how far that is. Never looks into a row. Invariant: a row that cannot
be read is a reading too, so that rows keep their numbers.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
import typer
from rich.console import Console
from rich.progress import track, wrap_file

from scheduler.cli import gym_rows
from scheduler.cli.cells import Row
from scheduler.core.errors import InvalidInput
from scheduler.core.unreadable import UNREADABLE
from scheduler.rewards import gym_entry

SOURCE = "SOURCE"
STDIN, HUB, GYM = "-", "hf:", gym_entry.SOURCE
_BATCH_ROWS = 256
_READ_AHEAD_BYTES = 1 << 20
_LONGEST_CELL = 16 << 20
"""Python's own limit on a cell of CSV is less than a prompt may have."""
_BOM = b"\xef\xbb\xbf"
_TELLING = "adding prompts"

Reading = Row | InvalidInput | None
"""A row, why it cannot be read, or None for a line with nothing on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows to be read, once."""

    columns: tuple[str, ...] | None
    """None where each row names its own."""
    read: Callable[[Sequence[str]], Iterator[Reading]]
    """Given the columns that are wanted of it; raises InvalidInput where it breaks off."""
    answer: str | None = None
    """The column that has the answer unless another is named, where that is known of such a source."""
    metadata: tuple[str, ...] = ()
    """Columns that are kept beside the prompt, named or not: its reward needs them."""


def is_lines(source: str) -> bool:
    """Whether it has JSON objects, a line each, which may be prompts already."""
    return source == STDIN or not (source.startswith((HUB, GYM)) or Path(source).suffix.lower() in (".parquet", ".csv"))


@contextmanager
def opened(source: str, *, split: str | None, limit: int | None) -> Iterator[Source]:
    """The first `limit` rows of a source.

    Raises BadParameter for one that cannot be opened, InvalidInput where that is for want of a package or of the hub.
    """
    if source.startswith(HUB):
        yield _dataset(source, split or "train", limit)
        return
    if split is not None:
        what = "a task" if source.startswith(GYM) else "a file"
        raise typer.BadParameter(f"it is of {HUB}NAME: {what} has no splits", param_hint="--split")
    if source.startswith(GYM):
        with gym_rows.opened(source) as rows:
            yield _gym(source, rows, limit)
        return
    if Path(source).suffix.lower() == ".parquet":
        with _parquet(source, limit) as found:
            yield found
        return
    with opened_lines(source) as lines:
        yield _lines(source, lines, limit) if is_lines(source) else _csv(source, lines, limit)


@contextmanager
def opened_lines(source: str) -> Iterator[BinaryIO]:
    """The lines of a file or of stdin; raises BadParameter for a file that cannot be opened."""
    if source == STDIN:
        yield sys.stdin.buffer
        return
    path = Path(source)
    try:
        lines = path.open("rb")
    except OSError as exc:
        raise typer.BadParameter(f"{source} cannot be read: {exc.strerror}", param_hint=SOURCE) from exc
    console, size = Console(stderr=True), path.stat().st_size
    # Nothing is drawn where nobody looks: stderr is no terminal then.
    hidden = not console.is_terminal
    with (
        lines,
        wrap_file(lines, size, description=_TELLING, console=console, transient=True, disable=hidden) as told,
    ):
        yield told


def _lines(source: str, lines: Iterable[bytes], limit: int | None) -> Source:
    def read(_wanted: Sequence[str]) -> Iterator[Reading]:
        readings = (_object(line) for line in islice(lines, limit))
        return _unbroken(source, readings, (OSError,))

    return Source(columns=None, read=read)


def _object(line: bytes) -> Reading:
    bare = line.removeprefix(_BOM).strip()
    if not bare:
        return None
    if bare.startswith(b"["):
        return InvalidInput("not a JSON object on a line of its own; `jq -c '.[]'` makes such lines of a list")
    try:
        return msgspec.json.decode(bare, type=dict[str, object])
    except UNREADABLE as error:
        return InvalidInput(f"not a JSON object on a line of its own: {error}")


def _csv(source: str, lines: Iterable[bytes], limit: int | None) -> Source:
    csv.field_size_limit(_LONGEST_CELL)
    # Strict: a quote that nothing closes would swallow every row behind it.
    cells = csv.reader((line.decode() for line in _without_bom(lines)), strict=True)
    try:
        header = next(cells, [])
    except (csv.Error, UnicodeDecodeError) as exc:
        raise typer.BadParameter(f"{source} is not CSV in UTF-8: {exc}", param_hint=SOURCE) from exc
    if len(set(header)) < len(header) or not header:
        raise typer.BadParameter(f"{source}: its first line is not a name for each column", param_hint=SOURCE)

    def read(_wanted: Sequence[str]) -> Iterator[Reading]:
        readings = (_record(header, record) for record in islice(cells, limit))
        return _unbroken(source, readings, (csv.Error, UnicodeDecodeError, OSError))

    return Source(columns=tuple(header), read=read)


def _without_bom(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix(_BOM)


def _record(header: Sequence[str], record: Sequence[str]) -> Reading:
    if not record:
        return None
    if len(record) != len(header):
        return InvalidInput(f"it has {len(record)} cells under {len(header)} columns")
    # A cell with nothing in it is all that CSV has for no value.
    return {name: cell or None for name, cell in zip(header, record, strict=True)}


@contextmanager
def _parquet(source: str, limit: int | None) -> Iterator[Source]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as exc:
        raise _missing(source, exc) from exc
    try:
        # Unbuffered, a whole column of a row group would be read at once.
        file = parquet.ParquetFile(source, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False)
    except (OSError, pyarrow.ArrowException) as exc:
        raise typer.BadParameter(f"{source} cannot be read: {_words(exc)}", param_hint=SOURCE) from exc

    def rows(wanted: Sequence[str]) -> Iterator[Reading]:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
            yield from batch.to_pylist()

    def read(wanted: Sequence[str]) -> Iterator[Reading]:
        return _unbroken(source, _told(rows(wanted), limit, file.metadata.num_rows), (OSError, pyarrow.ArrowException))

    with file:
        yield Source(columns=tuple(file.schema_arrow.names), read=read)


def _dataset(source: str, split: str, limit: int | None) -> Source:
    try:
        import datasets
    except ModuleNotFoundError as exc:
        raise _missing(source, exc) from exc
    datasets.disable_progress_bars()
    name, _, config = source.removeprefix(HUB).partition(":")
    try:
        found = datasets.load_dataset(name, config or None, split=split, streaming=True)
        columns = found.column_names or list(next(iter(found.take(1)), {}))
    except ConnectionError as exc:
        raise InvalidInput(f"{source} cannot be read now: {_words(exc)}") from exc
    # It raises errors of its own, of the hub, of its HTTP client and of whatever reads the files.
    except Exception as exc:
        raise typer.BadParameter(f"{source} cannot be read: {_words(exc)}", param_hint=SOURCE) from exc
    known = (found.info.splits or {}).get(split)

    def read(wanted: Sequence[str]) -> Iterator[Reading]:
        rows = _told(found.select_columns(list(wanted)), limit, known.num_examples if known is not None else None)
        # As above: whatever the hub, its HTTP client or a reader of files raises.
        return _unbroken(source, rows, (Exception,))

    return Source(columns=tuple(columns), read=read)


def _gym(source: str, rows: Iterator[Reading], limit: int | None) -> Source:
    def read(_wanted: Sequence[str]) -> Iterator[Reading]:
        size = gym_rows.GymSource.parse(source).settings["size"]
        return _unbroken(source, _told(rows, limit, int(size)), (InvalidInput,))

    return Source(columns=gym_rows.COLUMNS, read=read, answer="answer", metadata=(gym_entry.KEY,))


def _told(rows: Iterable[Reading], limit: int | None, num_rows: int | None) -> Iterator[Reading]:
    console = Console(stderr=True)
    totals = [total for total in (limit, num_rows) if total is not None]
    return iter(
        track(
            islice(rows, limit),
            description=_TELLING,
            total=min(totals, default=None),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    )


def _unbroken(source: str, readings: Iterable[Reading], broken: tuple[type[Exception], ...]) -> Iterator[Reading]:
    number = 0
    try:
        for number, reading in enumerate(readings, start=1):  # noqa: B007
            yield reading
    except broken as exc:
        raise InvalidInput(
            f"{source} breaks off after row {number}: {_words(exc)}; "
            "rows before that may be stored by now, and adding them again changes nothing"
        ) from exc


def _missing(source: str, exc: ModuleNotFoundError) -> InvalidInput:
    return InvalidInput(f"{source} is read with {exc.name}, which is not installed: pip install 'pilotcommit[data]'")


def _words(exc: Exception) -> str:
    """An error of a library in one line."""
    return (exc.strerror if isinstance(exc, OSError) else None) or " ".join(str(exc).split()) or type(exc).__name__
