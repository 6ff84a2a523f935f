"""Ports for processes that are started again."""

import socket

import pytest

from scheduler import ports
from scheduler.ports import free_port, is_free


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert not is_free(port)


def test_a_free_port_is_never_one_that_a_connection_may_be_given() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as connection:
            given = connection.getsockname()[1]
    # All of this machine's are far above.
    assert max(free_port() for _ in range(50)) < 29_000 < given


def test_it_says_so_when_none_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(OSError, match="no free port among 200 tried between 20000 and 29000"):
        free_port()
