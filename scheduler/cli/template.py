r"""A text with places for columns: `Question: {question}\nAnswer:`.

Owns: its grammar. Pure. Invariant: nothing of a row is read but the columns that are named.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from string import Formatter
from typing import Self

import typer

OPTION = "--template"
_ESCAPED = re.compile(r"\\([n\\])")


@dataclass(frozen=True, slots=True)
class Template:
    """What is written, and the column that follows each piece of it."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        r"""Read `{column}`; `\n` is a new line, as shells pass it on unread, `\\` a backslash, `{{` and `}}` braces.

        Raises BadParameter for a text without a column, and for braces that make none.
        """
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as exc:
            raise typer.BadParameter(f"{exc}; {{{{ and }}}} stand for braces", param_hint=OPTION) from exc
        for _, column, form, conversion in parsed:
            if column == "" or form or conversion:
                raise typer.BadParameter(
                    "a column's name and nothing else stands in braces, as in {question}; {{ and }} stand for braces",
                    param_hint=OPTION,
                )
        pieces = cls(tuple((_unescaped(literal), column) for literal, column, _, _ in parsed))
        if not pieces.columns:
            raise typer.BadParameter(
                "it names no column, as in {question}: every prompt would be the same", param_hint=OPTION
            )
        return pieces

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named."""
        return tuple(column for _, column in self.pieces if column is not None)

    def fill(self, text_of: Callable[[str], str]) -> str:
        """The text, with `text_of` each column in its place."""
        return "".join(literal + (text_of(column) if column is not None else "") for literal, column in self.pieces)


def _unescaped(literal: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else "\\", literal)
