"""Prompts as sets of n-grams."""

import subprocess
import sys

import numpy as np
import pytest

from scheduler.core.ngrams import NUM_PLACES, ngrams


@pytest.mark.parametrize(("length", "most"), [(0, 0), (1, 1), (2, 3), (3, 6), (300, 768)])
def test_a_prompt_has_its_grams_of_one_to_three_tokens_each_once_and_in_order(length: int, most: int) -> None:
    places = ngrams(range(1000, 1000 + length))
    assert len(places) <= most
    assert len(places) >= 0.8 * most, "places that two grams share are few"
    assert (np.diff(places.astype(int)) > 0).all()
    assert not len(places) or places.max() < NUM_PLACES


def test_only_the_end_of_a_prompt_counts() -> None:
    end = list(range(256))
    assert np.array_equal(ngrams([7, 8, 9, *end]), ngrams(end))
    assert not np.array_equal(ngrams([*end, 7]), ngrams(end))


def test_the_order_of_tokens_tells() -> None:
    there, back = set(ngrams([1, 2, 3, 4]).tolist()), set(ngrams([4, 3, 2, 1]).tolist())
    assert len(there & back) == 4, "the single tokens"


def test_another_process_finds_the_same_places() -> None:
    program = "from scheduler.core.ngrams import ngrams; print(ngrams([5, 17, 49151]).tolist())"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(ngrams([5, 17, 49151]).tolist())
