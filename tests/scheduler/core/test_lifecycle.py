"""The state machines of prompts, runs and servers."""

import itertools

import pytest

from scheduler.core.errors import IllegalMove
from scheduler.core.lifecycle import (
    CONFIRMED,
    ENDED,
    PROMPT_MOVES,
    RUN_MOVES,
    SERVER_MOVES,
    STANDING_MOVES,
    PromptState,
    RunState,
    ServerState,
    Standing,
    move_prompt,
    move_run,
    move_server,
    move_standing,
)


def reachable(start: RunState) -> set[RunState]:
    """Every state that legal moves lead to."""
    seen = {start}
    while True:
        grown = seen | {to for current, to in RUN_MOVES if current in seen}
        if grown == seen:
            return seen
        seen = grown


@pytest.mark.parametrize(("current", "to"), list(itertools.product(PromptState, repeat=2)))
def test_a_prompt_moves_exactly_as_its_table_says(current: PromptState, to: PromptState) -> None:
    if (current, to) in PROMPT_MOVES:
        assert move_prompt(current, to) is to
    else:
        with pytest.raises(IllegalMove, match=f"a prompt cannot go from {current} to {to}"):
            move_prompt(current, to)


@pytest.mark.parametrize(("current", "to"), list(itertools.product(RunState, repeat=2)))
def test_a_run_moves_exactly_as_its_table_says(current: RunState, to: RunState) -> None:
    if (current, to) in RUN_MOVES:
        assert move_run(current, to) is to
    else:
        with pytest.raises(IllegalMove, match=f"a run cannot go from {current} to {to}"):
            move_run(current, to)


@pytest.mark.parametrize(("current", "to"), list(itertools.product(ServerState, repeat=2)))
def test_a_server_moves_exactly_as_its_table_says(current: ServerState, to: ServerState) -> None:
    if (current, to) in SERVER_MOVES:
        assert move_server(current, to) is to
    else:
        with pytest.raises(IllegalMove, match=f"a server cannot go from {current} to {to}"):
            move_server(current, to)


def test_weights_that_nobody_confirmed_are_never_sampled_from() -> None:
    entered = {current for current, to in SERVER_MOVES if to in CONFIRMED and current not in CONFIRMED}
    assert entered == {ServerState.UPDATING}


def test_a_server_that_was_away_is_given_its_weights_anew() -> None:
    for state in (ServerState.STARTING, ServerState.DEAD):
        assert {to for current, to in SERVER_MOVES if current is state} == {ServerState.STALE}


@pytest.mark.parametrize("state", PromptState)
def test_no_prompt_is_ever_lost(state: PromptState) -> None:
    assert state is PromptState.CLAIMED or (state, PromptState.READY) in PROMPT_MOVES
    assert (PromptState.CLAIMED, PromptState.READY) in PROMPT_MOVES


def test_only_a_claimable_prompt_is_claimed() -> None:
    assert {current for current, to in PROMPT_MOVES if to is PromptState.CLAIMED} == {PromptState.READY}


def test_a_run_that_ended_stays_ended() -> None:
    assert not [move for move in RUN_MOVES if move[0] in ENDED]


@pytest.mark.parametrize("state", [state for state in RunState if state not in ENDED])
def test_every_living_run_can_be_cancelled_fail_and_reach_every_end(state: RunState) -> None:
    assert move_run(state, RunState.CANCELLED) is RunState.CANCELLED
    assert move_run(state, RunState.FAILED) is RunState.FAILED
    assert reachable(state) >= ENDED


def test_every_run_state_is_reached_from_the_queue() -> None:
    assert reachable(RunState.QUEUED) == set(RunState)


def test_a_run_drains_before_it_finishes_or_is_exhausted() -> None:
    for end in (RunState.FINISHED, RunState.EXHAUSTED):
        assert {current for current, to in RUN_MOVES if to is end} == {RunState.DRAINING}


def test_a_server_is_gone_only_once_it_was_leaving_and_until_then_can_serve_again() -> None:
    assert {current for current, to in STANDING_MOVES if to is Standing.GONE} == {Standing.LEAVING}
    assert {current for current, to in STANDING_MOVES if to is Standing.SERVING} == {Standing.DRAINED, Standing.LEAVING}
    assert not [move for move in STANDING_MOVES if move[0] is Standing.GONE]
    assert move_standing(Standing.SERVING, Standing.DRAINED) is Standing.DRAINED
    with pytest.raises(IllegalMove, match="cannot go from gone to serving"):
        move_standing(Standing.GONE, Standing.SERVING)
