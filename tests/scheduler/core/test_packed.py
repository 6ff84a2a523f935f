"""Token ids and log-probs as bytes: what goes in comes out, and what is none is refused."""

import copy
import pickle

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.packed import Logprobs, TokenIds, numbers_of, pack, spell_out, unpack

IDS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20)


class Both(msgspec.Struct, frozen=True):
    """As a rollout has them."""

    token_ids: TokenIds
    logprobs: Logprobs


@given(IDS)
def test_ids_are_the_numbers_they_were_made_of(numbers: list[int]) -> None:
    ids = TokenIds.of(numbers)
    assert list(ids) == ids.array.tolist() == numbers
    assert len(ids) == len(numbers)
    assert ids[1:] == tuple(numbers[1:])
    assert [ids[place] for place in range(len(ids))] == numbers
    assert (ids, hash(ids)) == (TokenIds.of(numbers), hash(TokenIds.of(numbers)))
    assert copy.deepcopy(ids) == pickle.loads(pickle.dumps(ids)) == ids


@given(IDS, st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_both_travel_as_bytes_and_are_spelt_out_for_people(numbers: list[int], floats: list[float]) -> None:
    both = Both(TokenIds.of(numbers), Logprobs.of(floats))
    assert unpack(pack(both), Both) == both
    assert msgspec.msgpack.decode(pack(both))["token_ids"] == np.array(numbers, dtype="<i4").tobytes()
    finite = [number for number in floats if np.isfinite(number)]
    told = spell_out(Both(TokenIds.of(numbers), Logprobs.of(finite)))
    assert msgspec.json.decode(told) == {"token_ids": numbers, "logprobs": finite}
    assert msgspec.json.decode(told, type=Both, dec_hook=numbers_of) == Both(TokenIds.of(numbers), Logprobs.of(finite))


def test_ids_and_log_probs_of_the_same_bytes_are_not_the_same() -> None:
    assert TokenIds(bytes(8)) != Logprobs(bytes(8))
    assert TokenIds(bytes(8)) != (0, 0)


def test_they_are_frozen() -> None:
    ids = TokenIds.of((1, 2))
    with pytest.raises(AttributeError, match="TokenIds is frozen"):
        ids.packed = b""
    with pytest.raises(ValueError, match="read-only"):
        ids.array[0] = 3


def test_a_number_that_does_not_fit_is_no_token_id() -> None:
    with pytest.raises(OverflowError):
        TokenIds.of((2**31,))


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"token_ids": b"12345", "logprobs": b""}, "5 bytes: not a whole number of numbers"),
        (
            {"token_ids": [1.5, 2], "logprobs": b""},
            "neither bytes nor a list of such numbers: Expected `int`",
        ),
        (
            {"token_ids": [2**31], "logprobs": b""},
            "neither bytes nor a list of such numbers: a number of more than 32 bits",
        ),
        ({"token_ids": "12", "logprobs": b""}, "TokenIds is neither bytes nor a list of such numbers"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused(sent: object, why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        unpack(msgspec.msgpack.encode(sent), Both)


def test_nothing_else_travels_by_accident() -> None:
    for write in (pack, spell_out):
        with pytest.raises(NotImplementedError, match="complex is nothing that travels"):
            write({"a": 1j})
    with pytest.raises(NotImplementedError, match="complex is nothing that travels"):
        unpack(msgspec.msgpack.encode(1), complex)
