"""The file of API tokens: a JSON object a line, with a name, a hash and scopes.

Owns: reading and changing the file. Never holds a token. Invariants: it is readable by its owner alone; a change is
seen at the next request, without a restart; a line that makes no sense is an error, never a token that is left out.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from scheduler.core.errors import Conflict, InvalidInput, NotFound
from scheduler.core.tokens import Scope, TokenRecord, new_token
from scheduler.core.unreadable import UNREADABLE


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: list[Scope]


class TokenFile:
    """Tokens of one scheduler."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int] | None = None
        self._records: tuple[TokenRecord, ...] = ()

    def records(self) -> tuple[TokenRecord, ...]:
        """All tokens, in their order; raises InvalidInput with the line that is wrong, or if there is no file."""
        try:
            status = self.path.stat()
            if (status.st_mtime_ns, status.st_size) != self._read_at:
                self._records = tuple(_parsed(self.path))
                self._read_at = (status.st_mtime_ns, status.st_size)
        except OSError as error:
            raise InvalidInput(f"the token file {self.path} cannot be read: {error.strerror}") from error
        return self._records

    def create(self, name: str, scopes: Iterable[Scope]) -> str:
        """Add a token and return it: it cannot be read again. Raises Conflict if the name is taken."""
        records = self.records() if self.path.exists() else ()
        if any(record.name == name for record in records):
            raise Conflict(f"there is a token called {name!r}: revoke it first, or choose another name", field="name")
        token = new_token()
        self._write([*records, TokenRecord.of(token, name, scopes)])
        return token

    def revoke(self, name: str) -> None:
        """Remove a token; raises NotFound if there is none of that name."""
        records = self.records()
        kept = [record for record in records if record.name != name]
        if len(kept) == len(records):
            names = ", ".join(record.name for record in records) or "none"
            raise NotFound(f"no token is called {name!r}; there are {names}", field="name")
        self._write(kept)

    def _write(self, records: Iterable[TokenRecord]) -> None:
        lines = [_Line(record.name, record.sha256, sorted(record.scopes)) for record in records]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        draft.touch(mode=0o600)
        draft.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        draft.replace(self.path)


def _parsed(path: Path) -> Iterable[TokenRecord]:
    for number, text in enumerate(path.read_bytes().splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=_Line)
        except UNREADABLE as error:
            raise InvalidInput(f"{path}, line {number}: {error}", field=f"line {number}") from error
        yield TokenRecord(name=line.name, sha256=line.sha256, scopes=frozenset(line.scopes))
