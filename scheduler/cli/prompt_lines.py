"""The lines that are sent of a source.

Owns: a line for every row, and what was refused before it could be sent. Invariant: a line's number is its row's, as a
row that makes no line is sent as an empty one, which the API counts and passes over.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import msgspec
import typer

from scheduler.cli import sources
from scheduler.cli.answers import Refusal
from scheduler.cli.cells import in_a_line
from scheduler.cli.columns import ASKS, Columns
from scheduler.cli.sources import SOURCE, Reading
from scheduler.client import Json
from scheduler.core.errors import InvalidInput

MAX_REFUSALS = 10_000
"""As many as the API tells of."""
_OF_A_PROBLEM = ("type", "title", "status", "detail", "field")


@dataclass(slots=True)
class Refusals:
    """Rows that made no line."""

    told: list[Refusal] = field(default_factory=list)
    """The first ten thousand."""
    more: int = 0

    def refuse(self, number: int, reason: str) -> None:
        """Note a row."""
        if len(self.told) < MAX_REFUSALS:
            self.told.append(Refusal(line=number, id=None, reason=reason))
        else:
            self.more += 1

    def beside(self, answer: Json) -> Json:
        """The API's answer about the other rows, with these in it."""
        if not self.told:
            return answer
        refused = [*msgspec.convert(answer["refused"], list[Refusal]), *self.told]
        refused.sort(key=lambda refusal: refusal.line)
        more = msgspec.convert(answer.get("more_refused", 0), int) + self.more + len(refused[MAX_REFUSALS:])
        # What the API says in words is of its own refusals only.
        counts = {name: value for name, value in answer.items() if name not in _OF_A_PROBLEM}
        all_of_them: Json = {**counts, "refused": msgspec.to_builtins(refused[:MAX_REFUSALS])}
        return {**all_of_them, "more_refused": more} if more else all_of_them


@dataclass(frozen=True, slots=True)
class PromptLines:
    """Lines to be sent once."""

    lines: Iterable[bytes]
    refusals: Refusals
    """Complete once all lines were taken."""


@contextmanager
def opened(source: str, columns: Columns, *, split: str | None, limit: int | None) -> Iterator[PromptLines]:
    """The lines of a source's first `limit` rows; where no columns are given they are its own, as they are.

    Raises BadParameter for a source that cannot be opened, and for columns that it does not have or that do not do.
    """
    if columns.are_given:
        columns.check()
    elif sources.is_lines(source) and split is None:
        with sources.opened_lines(source) as lines:
            yield PromptLines(islice(lines, limit), Refusals())
        return
    with sources.opened(source, split=split, limit=limit) as found:
        if not columns.are_given:
            there = in_a_line(found.columns or ())
            asked = f"say with {ASKS} what of a row is the prompt: {source} has the columns {there}"
            raise typer.BadParameter(asked, param_hint=SOURCE)
        columns = columns.beside(answer=found.answer, metadata=found.metadata)
        refusals = Refusals()
        wanted = columns.needed(found.columns) if found.columns is not None else ()
        yield PromptLines(_mapped(found.read(wanted), columns, refusals), refusals)


def _mapped(readings: Iterable[Reading], columns: Columns, refusals: Refusals) -> Iterator[bytes]:
    for number, reading in enumerate(readings, start=1):
        line = b""
        try:
            if isinstance(reading, InvalidInput):
                raise reading
            if reading is not None:
                line = msgspec.json.encode(columns.line(reading))
        except InvalidInput as error:
            refusals.refuse(number, str(error))
        yield line
