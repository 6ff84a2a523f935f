"""What is read of the API's answers."""

import pytest

from scheduler.cli.answers import Pool, read
from scheduler.core.errors import PilotCommitError

POOL = {"name": "sums", "tokenizer": "/m", "reward": "exact", "max_prompt_tokens": 8, "num_prompts": 2}


def test_a_field_that_a_newer_api_adds_is_ignored() -> None:
    assert read({**POOL, "colour": "red"}, Pool).name == "sums"


def test_an_answer_that_is_not_understood_says_so() -> None:
    with pytest.raises(PilotCommitError, match=r"num_prompts.*--json"):
        read({**POOL, "num_prompts": "many"}, Pool)
