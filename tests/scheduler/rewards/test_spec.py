"""Naming a reward."""

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.rewards.spec import RewardKind, RewardSpec, parse_spec


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("exact", RewardSpec(kind=RewardKind.EXACT)),
        ("numeric", RewardSpec(kind=RewardKind.NUMERIC)),
        ("regex", RewardSpec(kind=RewardKind.REGEX)),
        ("regex:a: (b|c:d)", RewardSpec(kind=RewardKind.REGEX, target="a: (b|c:d)")),
        ("math", RewardSpec(kind=RewardKind.MATH)),
        ("reasoning_gym", RewardSpec(kind=RewardKind.REASONING_GYM)),
        ("http://judge:9000/x", RewardSpec(kind=RewardKind.HTTP, target="http://judge:9000/x")),
        ("python:my.rewards:judge", RewardSpec(kind=RewardKind.PYTHON, target="my.rewards:judge")),
        ({"kind": "exact", "timeout_s": 2}, RewardSpec(kind=RewardKind.EXACT, timeout_s=2.0)),
        ({"kind": "numeric", "tolerance": 0.01}, RewardSpec(kind=RewardKind.NUMERIC, tolerance=0.01)),
        ({"kind": "regex", "pattern": "(a)"}, RewardSpec(kind=RewardKind.REGEX, target="(a)")),
        ({"kind": "python", "function": "m:f"}, RewardSpec(kind=RewardKind.PYTHON, target="m:f")),
    ],
)
def test_a_reward_is_read_from_a_string_or_a_mapping(value: str | dict[str, object], spec: RewardSpec) -> None:
    assert parse_spec(value) == spec


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "unknown reward ''"),
        ("Exact", "unknown reward 'Exact': use 'exact', 'numeric'"),
        ("exact:7", "takes no target"),
        ("python", "python:module:function"),
        ("python:module", "python:module:function"),
        ("python:a-b:c", "python:module:function"),
        ("python:a:b:c", "python:module:function"),
        ("regex:(", "not a regular expression"),
        ("regex:[0-9]+", "captures nothing"),
        ({}, "reward.kind must be one of"),
        ({"kind": 3}, "reward.kind must be one of"),
        ({"kind": "exact", "tolerance": 0.1}, "does not know tolerance"),
        ({"kind": "https://judge.example", "timeout_s": 5}, "is PILOTCOMMIT_REWARD_SERVER_TIMEOUT_S"),
        ({"kind": "numeric", "tolerance": "small"}, "must be a number"),
        ({"kind": "numeric", "tolerance": -0.1}, "between 0 and 1"),
        ({"kind": "numeric", "tolerance": float("nan")}, "between 0 and 1"),
        ({"kind": "exact", "timeout_s": 0}, "between 0.001 and 600"),
        ({"kind": "exact", "timeout_s": True}, "must be a number"),
        ({"kind": "regex", "pattern": 7}, "must be a string"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(value: str | dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_spec(value)
    assert caught.value.field is not None


@pytest.mark.parametrize(("name", "answer"), [("numeric", "thirteen"), ("math", " "), ("regex", "("), ("numeric", "")])
def test_an_answer_that_can_never_be_judged_is_refused(name: str, answer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(name).check_prompt(answer, {})
    assert caught.value.field == "answer"


@pytest.mark.parametrize(
    ("name", "answer"), [("exact", ""), ("numeric", "1/3"), ("regex", "a+"), ("regex:(a)", "("), ("python:m:f", "(")]
)
def test_an_answer_that_can_be_judged_is_accepted(name: str, answer: str) -> None:
    parse_spec(name).check_prompt(answer, {})
