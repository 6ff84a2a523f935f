"""The checker: it finds nothing in clean evidence, and each planted violation."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler.core.budget import Budget
from scheduler.core.ledger import Ledger, OpenState, Outcome, StageLine
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Stage
from tests.chaos.invariants import Invariant, RunEvidence, left_paused, violations_of

PILOTS = StageLine(attempts=12, outcomes={Outcome.TRAINED: 8, Outcome.LOST: 4})
COMMITS = StageLine(attempts=8, outcomes={Outcome.TRAINED: 8})


def make_ledger(**change: Any) -> Ledger:
    stages = {Stage.PILOT: change.pop("pilots", PILOTS), Stage.COMMIT: COMMITS}
    return Ledger(stages=stages, spent_rollouts=20, spent_tokens=160, **change)


CLEAN = RunEvidence(
    run_id="run",
    state=RunState.EXHAUSTED,
    budget=Budget(rollouts=24, tokens=192),
    ledger=make_ledger(),
    num_prompts=2,
    prompts={"p0": PromptState.READY, "p1": PromptState.WAITING},
    published=("a", "b", "c"),
    dropped=("c",),
    trained=((1, "a"), (2, "b")),
    learnt=((1, "a"), (2, "b")),
    num_served=18,
    num_delivered=3,
    misattributed=(),
)
PLANTED: list[tuple[Invariant, dict[str, Any], str]] = [
    (Invariant.RUN_ENDED, {"state": RunState.DRAINING}, "it is draining"),
    (Invariant.RUN_ENDED, {"state": RunState.FAILED}, "it is failed"),
    (Invariant.NO_GROUP_LOST, {"published": ("a", "b", "c", "d")}, "group d was published and never ended"),
    (Invariant.NO_GROUP_LOST, {"published": ("a", "b", "c", "c")}, "group c was published 2 times"),
    (Invariant.NO_GROUP_LOST, {"dropped": ("c", "b")}, "group b ended 2 times"),
    (Invariant.NO_GROUP_LOST, {"dropped": ("c", "e")}, "group e ended and was never published"),
    (
        Invariant.NONE_TRAINED_TWICE,
        {"learnt": ((1, "a"), (2, "b"), (3, "a"))},
        "the learner has group a 2 times",
    ),
    (Invariant.NONE_TRAINED_TWICE, {"learnt": ((1, "a"),)}, "only the scheduler has group b in step 2"),
    (Invariant.NONE_TRAINED_TWICE, {"learnt": ((1, "a"), (2, "b"), (2, "c"))}, "only the learner has group c"),
    (
        Invariant.ATTEMPTS_BALANCED,
        {"ledger": make_ledger(pilots=replace(PILOTS, attempts=13))},
        "13 attempts of stage pilot have 12 outcomes",
    ),
    (
        Invariant.ATTEMPTS_BALANCED,
        {"ledger": make_ledger(pilots=replace(PILOTS, open={OpenState.IN_FLIGHT: 1}))},
        "1 attempts of stage pilot are in_flight",
    ),
    (Invariant.ATTEMPTS_BALANCED, {"num_served": 21}, "servers saw 21 attempts, the ledger has 20"),
    (Invariant.BUDGET_HELD, {"budget": Budget(rollouts=19, tokens=192)}, "20 rollouts spent of 19"),
    (Invariant.BUDGET_HELD, {"budget": Budget(rollouts=24, tokens=159)}, "160 tokens spent of 159"),
    (Invariant.BUDGET_HELD, {"num_served": 25}, "25 rollouts asked of servers of 24"),
    (Invariant.BUDGET_HELD, {"ledger": make_ledger(reserved_rollouts=4)}, "4 rollouts and 0 tokens are still reserved"),
    (Invariant.NO_PROMPT_LOST, {"prompts": {"p0": PromptState.READY}}, "1 of 2 prompts are known"),
    (
        Invariant.NO_PROMPT_LOST,
        {"prompts": {"p0": PromptState.READY, "p1": PromptState.CLAIMED}},
        "prompt p1 is claimed",
    ),
    (Invariant.VERSIONS_CONFIRMED, {"misattributed": ("b",)}, "group b has a token of other weights"),
    (Invariant.VERSIONS_CONFIRMED, {"num_delivered": 0}, "nothing of what the learner was given is on record"),
]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert violations_of(CLEAN) == []
    assert left_paused({"server-0": True}) == []


@pytest.mark.parametrize(("invariant", "change", "detail"), PLANTED, ids=[detail for *_, detail in PLANTED])
def test_a_planted_violation_is_found_and_named(invariant: Invariant, change: dict[str, Any], detail: str) -> None:
    found = violations_of(replace(CLEAN, **change))
    assert any(detail in violation.detail for violation in found if violation.invariant is invariant), found


def test_a_server_that_is_left_paused_is_found_and_named() -> None:
    [violation] = left_paused({"server-0": True, "server-1": False})
    assert (violation.invariant, violation.run_id) == (Invariant.NOTHING_PAUSED, "server-1")


def test_every_invariant_has_a_planted_violation() -> None:
    assert {invariant for invariant, *_ in PLANTED} | {Invariant.NOTHING_PAUSED} == set(Invariant)
