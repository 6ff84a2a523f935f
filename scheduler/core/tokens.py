"""API tokens: who may do what.

Owns: making a token, its hash, and which scopes it grants. Pure. Invariants: a token itself is never kept, only its
hash; comparing takes as long for a wrong token as for a right one.

A token has 256 random bits, so one round of SHA-256 is as good as a slow hash: there is nothing to guess.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

_PREFIX = "pilotcommit_"
"""Makes a leaked token recognisable to secret scanners."""


class Scope(StrEnum):
    """What a token may do; every token may read."""

    READ = "read"
    """Look at pools, runs, ledgers, servers and metrics."""
    SUBMIT = "submit"
    """Create pools and runs, add prompts."""
    LEARN = "learn"
    """Take groups, publish weights, report steps."""
    OPERATE = "operate"
    """Pause, resume and cancel runs, reinstate prompts, ask for evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What is kept of a token."""

    name: str
    """Whose it is, for logs and for revoking it."""
    sha256: str
    scopes: frozenset[Scope]

    @classmethod
    def of(cls, token: str, name: str, scopes: Iterable[Scope]) -> Self:
        """The record of a token."""
        return cls(name=name, sha256=token_hash(token), scopes=frozenset(scopes))

    def grants(self, scope: Scope) -> bool:
        """Whether it may be used for this."""
        return scope is Scope.READ or scope in self.scopes


def new_token() -> str:
    """A fresh token."""
    return _PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def holder(records: Iterable[TokenRecord], token: str) -> TokenRecord | None:
    """The record of this token, if there is one."""
    found, digest = None, token_hash(token)
    # All are compared, so that the time says nothing of where the right one stands.
    for record in records:
        if hmac.compare_digest(record.sha256, digest):
            found = record
    return found
