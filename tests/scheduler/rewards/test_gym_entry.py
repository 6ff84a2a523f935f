"""What a scorer gets is what the task made, whatever JSON lacks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.rewards import gym_entry

_KEYS = st.one_of(st.text(), st.integers(-(2**53), 2**53), st.tuples(st.integers(0, 9), st.text()))
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text())
_HASHABLE = st.one_of(_LEAVES, st.tuples(_LEAVES, _LEAVES))
VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(_KEYS, inner),
        st.sets(_HASHABLE),
        st.frozensets(_HASHABLE),
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES))
def test_an_entry_comes_back_as_it_was(metadata: dict[str, object]) -> None:
    entry: dict[str, object] = {"question": "1+1", "answer": None, "metadata": metadata}
    written = gym_entry.write("sums", {"max_terms": "3"}, entry)
    made = gym_entry.read({gym_entry.KEY: written})
    assert (made.task, made.settings) == ("sums", {"max_terms": "3"})
    assert repr(made.thawed()) == repr(entry) or made.thawed() == entry
    assert type(made.thawed()["metadata"]) is dict


def test_a_text_that_looks_like_a_mark_is_only_a_text() -> None:
    entry: dict[str, object] = {"metadata": {"\N{SECTION SIGN}": "tuple", "of": [1]}}
    assert gym_entry.read({gym_entry.KEY: gym_entry.write("t", {}, entry)}).thawed() == entry


def test_numbers_of_numpy_are_numbers() -> None:
    written = gym_entry.write("t", {}, {"metadata": np.int64(3)})
    assert gym_entry.read({gym_entry.KEY: written}).thawed() == {"metadata": 3}


def test_what_has_no_form_is_named() -> None:
    with pytest.raises(InvalidInput, match="an entry of t cannot be written down: object has no form in JSON"):
        gym_entry.write("t", {}, {"metadata": object()})


@pytest.mark.parametrize(
    "metadata", [{}, {"reasoning_gym": "{"}, {"reasoning_gym": '{"task": 1}'}, {"reasoning_gym": 3}]
)
def test_a_prompt_without_an_entry_is_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="reasoning-gym:TASK") as refusal:
        gym_entry.read(metadata)
    assert refusal.value.field == "metadata"
