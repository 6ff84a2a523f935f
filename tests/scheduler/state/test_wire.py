"""What Redis answers, as the types we asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import StateError
from scheduler.state.wire import raw, text


@given(st.text())
def test_an_answer_of_bytes_is_read_as_the_text_it_was(said: str) -> None:
    assert raw(said.encode()) == said.encode()
    assert text(said.encode()) == said


@given(st.binary())
def test_any_bytes_are_text_or_refused(said: bytes) -> None:
    if said.decode(errors="replace").encode() == said:
        assert text(said).encode() == said
    else:
        with pytest.raises(StateError, match="no text"):
            text(said)


@pytest.mark.parametrize("answer", [None, "decoded already", 3, [b"list"]])
def test_an_answer_that_is_not_bytes_is_refused(answer: object) -> None:
    with pytest.raises(StateError, match=type(answer).__name__):
        raw(answer)
    with pytest.raises(StateError):
        text(answer)
