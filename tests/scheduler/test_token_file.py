"""The file of API tokens."""

import os
import stat
from pathlib import Path

import pytest

from scheduler.core.errors import Conflict, InvalidInput, NotFound
from scheduler.core.tokens import Scope, holder
from scheduler.token_file import TokenFile


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "secret" / "tokens.ndjson")


def test_a_token_is_made_found_and_revoked(tokens: TokenFile) -> None:
    learner, reader = tokens.create("learner", [Scope.LEARN]), tokens.create("grafana", [])
    found = holder(tokens.records(), learner)
    assert found is not None
    assert (found.name, found.scopes) == ("learner", frozenset({Scope.LEARN}))
    tokens.revoke("learner")
    assert holder(tokens.records(), learner) is None
    assert holder(tokens.records(), reader) is not None


def test_the_file_holds_no_token_and_only_its_owner_reads_it(tokens: TokenFile) -> None:
    token = tokens.create("learner", [Scope.LEARN])
    assert token not in tokens.path.read_text()
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert os.listdir(tokens.path.parent) == [tokens.path.name]


def test_a_change_by_another_process_is_seen(tokens: TokenFile) -> None:
    tokens.create("a", [])
    assert len(tokens.records()) == 1
    TokenFile(tokens.path).create("b", [])
    assert [record.name for record in tokens.records()] == ["a", "b"]


def test_a_name_is_given_once(tokens: TokenFile) -> None:
    tokens.create("a", [])
    with pytest.raises(Conflict, match="revoke it first"):
        tokens.create("a", [])
    with pytest.raises(NotFound, match="there are a"):
        tokens.revoke("b")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "line 2"),
        ('{"name": "x", "sha256": "short", "scopes": []}', "line 2.*sha256"),
        ('{"name": "x", "sha256": "%s", "scopes": ["root"]}' % ("a" * 64), "line 2.*scopes"),
        ('{"name": "x", "scopes": []}', "line 2.*sha256"),
        ('{"name": "", "sha256": "%s", "scopes": []}' % ("a" * 64), "line 2.*name"),
    ],
)
def test_a_line_that_makes_no_sense_is_an_error(tokens: TokenFile, line: str, reason: str) -> None:
    tokens.create("a", [])
    with tokens.path.open("a") as file:
        file.write(f"{line}\n\n")
    with pytest.raises(InvalidInput, match=reason):
        tokens.records()


def test_without_the_file_there_are_no_tokens_and_that_is_an_error(tokens: TokenFile) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        tokens.records()
