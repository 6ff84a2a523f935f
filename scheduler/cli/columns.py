"""Which columns of a row make which part of a prompt.

Owns: those columns, and the line that a row becomes. Pure. Never checks a prompt: the API does. Invariant: a row gives
a line, or a reason why it gives none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import typer

from scheduler.cli import cells
from scheduler.cli.cells import Row
from scheduler.cli.template import OPTION as TEMPLATE
from scheduler.cli.template import Template
from scheduler.core.errors import InvalidInput

Line = dict[str, object]
ASKS = f"--text, {TEMPLATE}, --messages, --user or --input-ids"
_LARGEST_ID = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A column by its name, or its place within others by dots; None for what a prompt does not have."""

    text: str | None = None
    """The prompt as it is."""
    template: Template | None = None
    """The prompt, out of several columns."""
    messages: str | None = None
    """A list of messages, each with role and content."""
    user: str | None = None
    """The one message of a user."""
    system: str | None = None
    """What stands before that message: text, not a column."""
    input_ids: str | None = None
    """Token ids."""
    answer: str | None = None
    """The reference answer."""
    answer_after: str | None = None
    """The mark whose last occurrence the answer stands behind."""
    id: str | None = None
    """Names the prompt; where it is None the scheduler makes one of what is in the prompt."""
    metadata: tuple[str, ...] = ()
    """Kept beside the prompt, each under its column's name."""

    @property
    def are_given(self) -> bool:
        """Whether there is any; without them lines are prompts already."""
        return any(getattr(self, each.name) not in (None, ()) for each in fields(self))

    def check(self) -> None:
        """Raise BadParameter for options that do not go together."""
        asks = (self.text, self.template, self.messages, self.user, self.input_ids)
        if sum(ask is not None for ask in asks) != 1:
            raise typer.BadParameter("say with exactly one of them what of a row is the prompt", param_hint=ASKS)
        if self.system is not None and self.user is None:
            raise typer.BadParameter("it stands before the message of --user", param_hint="--system")
        if self.answer_after == "" or (self.answer_after is not None and self.answer is None):
            raise typer.BadParameter("it is a mark within the column of --answer", param_hint="--answer-after")

    def beside(self, *, answer: str | None, metadata: Sequence[str]) -> Self:
        """With what a source brings of its own: the answer where none is named, and metadata that is always kept."""
        kept = tuple(dict.fromkeys((*self.metadata, *metadata)))
        return replace(self, answer=self.answer or answer, metadata=kept)

    def needed(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of a source's columns that are read; raises BadParameter for one that is not there."""
        needed = dict[str, None]()
        for option, column in self._named():
            name = cells.root(column, columns)
            if name not in columns:
                there = cells.in_a_line(columns)
                raise typer.BadParameter(f"no column {column!r}: there are {there}", param_hint=option)
            needed[name] = None
        return tuple(needed)

    def line(self, row: Row) -> Line:
        """The row as a line of an upload; raises InvalidInput for a row that makes none."""
        line = self._asked(row)
        if self.id is not None:
            line["id"] = cells.text(row, self.id)
        if self.answer is not None:
            line["answer"] = self._answer(row, self.answer)
        notes = {column: cells.note(row, column) for column in self.metadata}
        if found := {column: note for column, note in notes.items() if note is not None}:
            line["metadata"] = found
        return line

    def _named(self) -> Iterator[tuple[str, str]]:
        single = {
            "--text": self.text,
            "--messages": self.messages,
            "--user": self.user,
            "--input-ids": self.input_ids,
            "--answer": self.answer,
            "--id": self.id,
        }
        yield from ((option, column) for option, column in single.items() if column is not None)
        yield from ((TEMPLATE, column) for column in (self.template.columns if self.template is not None else ()))
        yield from (("--metadata", column) for column in self.metadata)

    def _asked(self, row: Row) -> Line:
        if self.template is not None:
            return {"text": self.template.fill(lambda column: cells.text(row, column))}
        if self.messages is not None:
            return {"messages": _messages(row, self.messages)}
        if self.user is not None:
            system = [] if self.system is None else [{"role": "system", "content": self.system}]
            return {"messages": [*system, {"role": "user", "content": cells.text(row, self.user)}]}
        if self.input_ids is not None:
            return {"input_ids": _token_ids(row, self.input_ids)}
        return {"text": cells.text(row, str(self.text))}

    def _answer(self, row: Row, column: str) -> str:
        answer = cells.text(row, column)
        if self.answer_after is None:
            return answer
        _, mark, behind = answer.rpartition(self.answer_after)
        if not mark:
            raise InvalidInput(f"column {column!r} has no {self.answer_after!r} in it", field=column)
        return behind.strip()


def _messages(row: Row, column: str) -> list[dict[str, str]]:
    messages = [_message(column, number, message) for number, message in enumerate(cells.items(row, column), start=1)]
    if not messages:
        raise InvalidInput(f"column {column!r} has no messages", field=column)
    if messages[-1]["role"] == "assistant":
        raise InvalidInput(
            f"column {column!r} ends with an assistant's message: a prompt ends where the model answers", field=column
        )
    return messages


def _message(column: str, number: int, message: object) -> dict[str, str]:
    where = f"column {column!r}, message {number}"
    if not isinstance(message, Mapping):
        raise InvalidInput(f"{where} is not an object with role and content", field=column)
    # Where messages are a table, what only some of them have is there in all, without a value.
    given = {str(name): value for name, value in message.items() if value is not None}
    if not {"role", "content"} <= given.keys():
        raise InvalidInput(f"{where} has no role and content: it has {cells.in_a_line(given)}", field=column)
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    if others := given.keys() - texts.keys():
        raise InvalidInput(f"{where}: {cells.in_a_line(sorted(others))} is not text", field=column)
    return texts


def _token_ids(row: Row, column: str) -> list[int]:
    found = cells.items(row, column)
    token_ids = [item for item in found if isinstance(item, int) and not isinstance(item, bool)]
    if len(token_ids) < len(found) or not all(0 <= token_id < _LARGEST_ID for token_id in token_ids):
        raise InvalidInput(f"column {column!r} is not a list of token ids", field=column)
    return token_ids
