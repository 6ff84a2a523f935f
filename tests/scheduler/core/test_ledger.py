"""The ledger's arithmetic: attempts = sum over open states and outcomes, at any moment."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import IllegalMove
from scheduler.core.ledger import (
    LEGAL_MOVES,
    VERDICT_OUTCOMES,
    Ledger,
    Move,
    OpenState,
    Outcome,
    StageLine,
    Status,
    attempts_counter,
    counter,
    deltas,
)
from scheduler.core.types import Stage, Verdict

LEGAL = [(source, to) for source, targets in LEGAL_MOVES.items() for to in targets]
STATUSES: list[Status] = [*OpenState, *Outcome]
ILLEGAL = [pair for pair in itertools.product([None, *OpenState], STATUSES) if pair not in LEGAL]
moves = st.builds(
    lambda pair, stage, count: Move(stage=stage, source=pair[0], to=pair[1], count=count),
    st.sampled_from(sorted(LEGAL, key=str)),
    st.sampled_from(Stage),
    st.integers(0, 20),
)


def apply(counters: Counter[str], *made: Move) -> None:
    counters.update(deltas(made))


@given(st.lists(st.lists(moves, max_size=4), max_size=30))
def test_every_sequence_of_legal_moves_keeps_the_ledger_balanced(transactions: list[list[Move]]) -> None:
    counters: Counter[str] = Counter()
    for transaction in transactions:
        apply(counters, *transaction)
        assert Ledger.from_counters(counters).is_balanced


@given(st.lists(moves, max_size=30))
def test_moves_made_together_change_what_they_change_one_by_one(sequence: list[Move]) -> None:
    together: Counter[str] = Counter()
    one_by_one: Counter[str] = Counter()
    apply(together, *sequence)
    for move in sequence:
        apply(one_by_one, move)
    assert Ledger.from_counters(together) == Ledger.from_counters(one_by_one)


@given(st.lists(moves, max_size=30))
def test_only_a_launch_makes_attempts(sequence: list[Move]) -> None:
    counters: Counter[str] = Counter()
    apply(counters, *sequence)
    for stage in Stage:
        launched = sum(move.count for move in sequence if move.source is None and move.stage is stage)
        assert counters[attempts_counter(stage)] == launched


@given(moves)
def test_a_move_touches_no_stage_but_its_own(move: Move) -> None:
    assert all(name.endswith(f":{move.stage}") or name.startswith(f"{move.stage}:") for name in deltas([move]))


@given(st.lists(moves, max_size=10))
def test_increments_of_zero_are_left_out(sequence: list[Move]) -> None:
    assert 0 not in deltas(sequence).values()


@pytest.mark.parametrize(("source", "to"), ILLEGAL)
def test_a_move_that_the_table_does_not_have_is_refused(source: OpenState | None, to: Status) -> None:
    with pytest.raises(IllegalMove, match=f"from {source or 'nothing'} to {to}"):
        Move(stage=Stage.PILOT, source=source, to=to, count=1)


def test_a_move_backwards_in_number_is_refused() -> None:
    with pytest.raises(IllegalMove, match="-1 attempts"):
        Move(stage=Stage.PILOT, source=None, to=OpenState.IN_FLIGHT, count=-1)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_reached_from_a_launch(outcome: Outcome) -> None:
    reached: set[Status] = set(LEGAL_MOVES[None])
    for _ in OpenState:
        reached |= {to for state in OpenState if state in reached for to in LEGAL_MOVES[state]}
    assert outcome in reached


@pytest.mark.parametrize("state", OpenState)
def test_every_open_state_is_left_for_some_outcome(state: OpenState) -> None:
    assert LEGAL_MOVES[state] & set(Outcome)


@pytest.mark.parametrize("outcome", [Outcome.TRAINED, Outcome.ROLLED_BACK])
def test_only_what_the_learner_applied_is_trained_or_rolled_back(outcome: Outcome) -> None:
    assert {source for source, to in LEGAL if to is outcome} == {OpenState.APPLIED}


def test_every_verdict_but_a_commit_has_an_outcome_of_held_rollouts() -> None:
    assert set(VERDICT_OUTCOMES) == set(Verdict) - {Verdict.COMMIT}
    assert set(VERDICT_OUTCOMES.values()) <= LEGAL_MOVES[OpenState.HELD]


def test_a_ledger_reads_its_own_counters() -> None:
    ledger = Ledger.from_counters(
        {
            attempts_counter(Stage.PILOT): 5,
            counter(Stage.PILOT, OpenState.HELD): 2,
            counter(Stage.PILOT, Outcome.LOST): 3,
            "tokens:pilot": 40,
            "prompt_tokens:pilot": 30,
            "reserved:rollouts": 4,
            "reserved:tokens": 64,
            "spent:rollouts": 5,
            "spent:tokens": 40,
            "verdict:skip": 1,
        }
    )
    pilots = ledger.stages[Stage.PILOT]
    assert (pilots.attempts, pilots.open[OpenState.HELD], pilots.outcomes[Outcome.LOST]) == (5, 2, 3)
    assert (pilots.tokens, pilots.prompt_tokens) == (40, 30)
    assert (ledger.reserved_rollouts, ledger.reserved_tokens) == (4, 64)
    assert (ledger.spent_rollouts, ledger.spent_tokens) == (5, 40)


def test_an_empty_ledger_has_a_zero_for_every_stage_state_and_outcome() -> None:
    ledger = Ledger.from_counters({})
    assert set(ledger.stages) == set(Stage)
    for line in ledger.stages.values():
        assert line.attempts == 0
        assert line.open == dict.fromkeys(OpenState, 0)
        assert line.outcomes == dict.fromkeys(Outcome, 0)


@pytest.mark.parametrize(
    "counters",
    [
        {attempts_counter(Stage.PILOT): 1},
        {counter(Stage.COMMIT, OpenState.APPLIED): 1},
        {attempts_counter(Stage.EVAL): 2, counter(Stage.EVAL, Outcome.EVALUATED): 1},
        # One stage's surplus never makes up for what another one misses.
        {attempts_counter(Stage.PILOT): 1, counter(Stage.COMMIT, OpenState.HELD): 1},
    ],
)
def test_an_attempt_without_a_place_unbalances_the_ledger(counters: dict[str, int]) -> None:
    assert not Ledger.from_counters(counters).is_balanced


def test_a_line_without_attempts_is_balanced() -> None:
    assert StageLine().is_balanced
