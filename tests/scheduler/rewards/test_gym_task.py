"""Tasks of reasoning-gym, set up as text says."""

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.rewards import gym_task


def test_settings_are_read_as_their_kinds() -> None:
    few = {"size": "3", "seed": "1", "min_terms": "2", "max_terms": "2", "allow_negation": "true"}
    questions = [str(entry["question"]) for entry in gym_task.make("chain_sum", few)]
    assert len(questions) == 3
    assert all(question.count("+") + question.count(" - ") >= 1 for question in questions)
    operators = gym_task.make("basic_arithmetic", {"size": "20", "seed": "1", "operators": '["+"]'})
    assert not any("*" in str(entry["question"]) for entry in operators)
    dated = gym_task.make(
        "time_intervals", {"size": "2", "seed": "1", "min_date": "2020-01-01", "max_date": "2020-02-01"}
    )
    assert len(list(dated)) == 2


@pytest.mark.parametrize(
    ("task", "settings", "reason"),
    [
        ("chain_sums", {}, "no task 'chain_sums': did you mean chain_sum?"),
        ("qqqq", {}, "no task 'qqqq': it has ab, acre,"),
        ("composite", {}, "no task 'composite'"),
        ("chain_sum", {"terms": "2"}, "chain_sum has no setting 'terms': it has min_terms, max_terms,"),
        ("chain_sum", {"size": "many"}, "size=many of chain_sum: Input should be a valid integer"),
        ("chain_sum", {"min_terms": "5", "max_terms": "2"}, "chain_sum does not do with min_terms=5, max_terms=2"),
    ],
)
def test_what_there_is_none_of_is_named(task: str, settings: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        gym_task.make(task, settings)
    assert reason in str(refusal.value)
