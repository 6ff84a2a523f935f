"""What may be the address of a server."""

import pytest

from scheduler.core.addresses import server_address, server_id
from scheduler.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:30000", "http://127.0.0.1:30000"),
        ("HTTP://Node-1:30000/", "http://node-1:30000"),
        ("http://node:80", "http://node"),
        ("https://gateway/fleet/one//", "https://gateway/fleet/one"),
        ("http://[::1]:30000", "http://[::1]:30000"),
    ],
)
def test_two_spellings_of_one_address_are_one(text: str, address: str) -> None:
    assert server_address(text) == address
    assert server_id(server_address(text)) == server_id(address)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an address"),
        ("localhost:30000", "is not an address"),
        ("ftp://node", "is not an address"),
        ("http://", "is not an address"),
        ("http://node:99999", "Port out of range"),
        ("http://node:port", "is not an address"),
        ("http://no de", "blanks"),
        ("http://node\n:1", "blanks"),
        ("http://node/?x=1", "query"),
        ("http://node/#x", "fragment"),
        ("http://node:0", "is not an address"),
        ("http://.", "is not an address"),
    ],
)
def test_what_is_no_address_is_refused_with_what_would_be(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        server_address(text)
    assert refused.value.field == "url"


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput) as refused:
        server_address("http://user:hunter2@node:30000")
    assert "hunter2" not in str(refused.value)


def test_servers_are_told_apart_by_their_ids() -> None:
    assert server_id("http://a") != server_id("http://b")
