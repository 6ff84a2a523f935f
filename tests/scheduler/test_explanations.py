"""Facts of a story that are worked out: how long a run was in each state."""

from scheduler.core.course import CourseEvent, Turn
from scheduler.core.lifecycle import RunState
from scheduler.explanations import state_seconds


def _went(at: float, state: RunState) -> CourseEvent:
    return CourseEvent(at=at, what=Turn.STATE, state=state)


def test_a_run_is_queued_from_its_creation_and_in_its_last_state_until_now() -> None:
    events = [_went(3.0, RunState.RUNNING), _went(5.0, RunState.PAUSED), _went(9.0, RunState.RUNNING)]
    assert state_seconds(events, created_at=1.0, until=10.0) == {
        RunState.QUEUED: 2.0,
        RunState.RUNNING: 3.0,
        RunState.PAUSED: 4.0,
    }


def test_a_run_spends_no_time_in_the_state_it_ended_in() -> None:
    events = [_went(2.0, RunState.CANCELLED)]
    assert state_seconds(events, created_at=1.0, until=50.0) == {RunState.QUEUED: 1.0}


def test_what_is_no_change_of_state_and_a_clock_that_goes_back_take_no_time() -> None:
    events = [CourseEvent(at=4.0, what=Turn.STALL), _went(0.5, RunState.RUNNING)]
    assert state_seconds(events, created_at=1.0, until=0.6) == {RunState.QUEUED: 0.0, RunState.RUNNING: 0.6 - 0.5}
