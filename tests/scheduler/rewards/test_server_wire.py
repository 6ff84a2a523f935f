"""What a reward server says, believed or not."""

import json
import math

import pytest

from scheduler.core.errors import RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards.server_wire import Fault, Unanswered, completion, question, read
from scheduler.rewards.spec import RewardJob

IDENTS = ("c1", "c2")


def body(*rewards: object) -> bytes:
    return json.dumps({"rewards": rewards}).encode()


def test_a_question_has_every_completion_with_what_is_known_of_it() -> None:
    odd = RewardJob(text='"\N{GRINNING FACE}\0\n', answer="2", metadata={"question": "1+1"})
    asked = json.loads(question("r", [completion("c1", odd), completion("c2", RewardJob(text="", answer=""))]))
    assert (asked["format"], asked["request"]) == (1, "r")
    assert asked["completions"] == [
        {"id": "c1", "text": '"\N{GRINNING FACE}\0\n', "answer": "2", "metadata": {"question": "1+1"}},
        {"id": "c2", "text": "", "answer": "", "metadata": {}},
    ]
    assert json.loads(question("r", []))["completions"] == []


def test_entries_are_told_apart_by_their_ids_in_whatever_order() -> None:
    said = read(IDENTS, 200, body({"id": "c2", "reward": -0.5, "correct": True}, {"id": "c1", "reward": 2, "more": 1}))
    assert said == [Judgement(reward=2.0, correct=True), Judgement(reward=-0.5, correct=True)]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"reward": math.nan}, "which is not finite"),
        ({"reward": -math.inf}, "which is not finite"),
        ({"reward": 10**400}, "which is not finite"),
        ({"reward": "1.0"}, "not a number"),
        ({"reward": None}, "not a number"),
        ({}, "not a number"),
        ({"reward": 1, "correct": "yes"}, "not a bool"),
        ({"reward": 1, "error": "no compiler"}, "the reward server: no compiler"),
    ],
)
def test_what_is_no_reward_fails_its_own_completion_alone(entry: dict[str, object], reason: str) -> None:
    failed, judged = read(IDENTS, 200, body({"id": "c1", **entry}, {"id": "c2", "reward": 0}))
    assert isinstance(failed, RewardFailed)
    assert reason in str(failed)
    assert judged == Judgement(reward=0.0, correct=False)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (body({"id": "c1", "reward": 1}), "it answered 1 rewards for 2 completions, 1 of them missing"),
        (body(*({"id": ident, "reward": 1} for ident in ("c1", "c2", "c3"))), "3 rewards for 2 completions, 0"),
        (body({"id": "c1", "reward": 1}, {"id": "c1", "reward": 0}), "2 rewards for 2 completions, 1 of them missing"),
        (body({"id": 1, "reward": 1}, {"id": "c2", "reward": 0}), "not of the documented form"),
        (b'[{"id": "c1"}]', "not of the documented form"),
        (b'{"rewards": null}', "not of the documented form"),
        (b"<html>", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"rewards": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_an_answer_that_is_not_as_it_should_be_is_not_believed_at_all(said: bytes, reason: str) -> None:
    with pytest.raises(Unanswered, match=reason) as refusal:
        read(IDENTS, 200, said)
    assert refusal.value.fault is Fault.CONTENT


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (400, Fault.CONTENT),
        (413, Fault.CONTENT),
        (422, Fault.CONTENT),
        (429, Fault.PASSING),
        (503, Fault.PASSING),
        (500, Fault.BROKEN),
        (401, Fault.FINAL),
        (404, Fault.FINAL),
        (307, Fault.FINAL),
        (204, Fault.FINAL),
    ],
)
def test_a_status_says_what_may_help(status: int, fault: Fault) -> None:
    with pytest.raises(Unanswered, match=f"it answered {status}") as refusal:
        read(IDENTS, status, b"the text of a completion\n")
    assert refusal.value.fault is fault
    assert "text of a completion" in str(refusal.value)
    assert "text of a completion" not in refusal.value.reason, "what is logged quotes nothing"
