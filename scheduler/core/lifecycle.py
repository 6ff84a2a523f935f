"""The four state machines: a prompt within a run, the run itself, a server, and its place in the fleet.

Owns: the states and the tables of legal moves. Invariant: a move that its table does not have raises IllegalMove.
"""

from enum import StrEnum
from typing import TypeVar

from scheduler.core.errors import IllegalMove

_State = TypeVar("_State", bound=StrEnum)


class PromptState(StrEnum):
    """Where a prompt stands within a run."""

    READY = "ready"
    """Claimable, in the order of its score."""
    CLAIMED = "claimed"
    """A visit is open: it is being piloted, held or committed."""
    WAITING = "waiting"
    """Deferred or evicted: returns to READY at a weight version."""
    QUARANTINED = "quarantined"
    """Never claimed again unless reinstated: the request itself is refused, or it keeps killing servers."""


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    """Waits for servers, which other runs own or which there are none of."""
    WAITING_WEIGHTS = "waiting_weights"
    """Waits for a learner to attach and for its weights to be live on a server."""
    RUNNING = "running"
    """Claims, pilots, commits and publishes."""
    PAUSED = "paused"
    """An operator paused it: nothing new is claimed, open visits finish."""
    DRAINING = "draining"
    """Nothing new is claimed; open visits finish and the learner takes its last step."""
    FINISHED = "finished"
    """Its steps are done and saved."""
    EXHAUSTED = "exhausted"
    """Its budget is spent and all it paid for is saved."""
    CANCELLED = "cancelled"
    """An operator cancelled it."""
    FAILED = "failed"
    """It cannot go on; the reason says why."""


class ServerState(StrEnum):
    """Where a server stands; only a HEALTHY one is sent attempts."""

    STARTING = "starting"
    """It has not answered yet."""
    STALE = "stale"
    """It answers, but which weights it holds is not confirmed: it is new, came back, or failed an update."""
    UPDATING = "updating"
    """It is being given weights."""
    HEALTHY = "healthy"
    """It holds a confirmed version and takes requests."""
    DRAINING = "draining"
    """It is about to be given weights: what is in flight ends, nothing new is sent."""
    SUSPECT = "suspect"
    """It did not answer when last asked: nothing new is sent until it does, or is dead."""
    DEAD = "dead"
    """It no longer answers."""


class Standing(StrEnum):
    """What operators want of a server, whatever its state."""

    SERVING = "serving"
    """It is given weights, and attempts once they are confirmed."""
    DRAINED = "drained"
    """What it has in flight ends; it gets no attempts and no weights until an operator resumes it."""
    LEAVING = "leaving"
    """As drained, and taken out of the fleet once nothing is in flight."""
    GONE = "gone"
    """It is not of the fleet any more."""


CONFIRMED = frozenset({ServerState.HEALTHY, ServerState.DRAINING, ServerState.SUSPECT})
"""What it samples is of a version that is known."""

ENDED = frozenset({RunState.FINISHED, RunState.EXHAUSTED, RunState.CANCELLED, RunState.FAILED})

PROMPT_MOVES: frozenset[tuple[PromptState, PromptState]] = frozenset(
    {
        (PromptState.READY, PromptState.CLAIMED),
        (PromptState.READY, PromptState.READY),
        (PromptState.CLAIMED, PromptState.READY),
        (PromptState.CLAIMED, PromptState.WAITING),
        (PromptState.CLAIMED, PromptState.QUARANTINED),
        (PromptState.WAITING, PromptState.READY),
        (PromptState.QUARANTINED, PromptState.READY),
    }
)

_STOPPING = (RunState.CANCELLED, RunState.FAILED)
RUN_MOVES: frozenset[tuple[RunState, RunState]] = frozenset(
    {
        (RunState.QUEUED, RunState.WAITING_WEIGHTS),
        (RunState.QUEUED, RunState.PAUSED),
        (RunState.WAITING_WEIGHTS, RunState.RUNNING),
        (RunState.WAITING_WEIGHTS, RunState.PAUSED),
        (RunState.RUNNING, RunState.WAITING_WEIGHTS),
        (RunState.RUNNING, RunState.PAUSED),
        (RunState.RUNNING, RunState.DRAINING),
        (RunState.PAUSED, RunState.QUEUED),
        (RunState.PAUSED, RunState.WAITING_WEIGHTS),
        (RunState.PAUSED, RunState.RUNNING),
        (RunState.WAITING_WEIGHTS, RunState.DRAINING),
        (RunState.DRAINING, RunState.FINISHED),
        (RunState.DRAINING, RunState.EXHAUSTED),
        *((state, end) for state in RunState if state not in ENDED for end in _STOPPING),
    }
)

SERVER_MOVES: frozenset[tuple[ServerState, ServerState]] = frozenset(
    {
        (ServerState.STARTING, ServerState.STALE),
        (ServerState.STALE, ServerState.UPDATING),
        (ServerState.UPDATING, ServerState.HEALTHY),
        (ServerState.UPDATING, ServerState.STALE),
        (ServerState.HEALTHY, ServerState.UPDATING),
        (ServerState.HEALTHY, ServerState.DRAINING),
        (ServerState.HEALTHY, ServerState.SUSPECT),
        (ServerState.DRAINING, ServerState.UPDATING),
        (ServerState.DRAINING, ServerState.HEALTHY),
        (ServerState.SUSPECT, ServerState.HEALTHY),
        (ServerState.DEAD, ServerState.STALE),
        *((state, ServerState.STALE) for state in CONFIRMED),
        *((state, ServerState.DEAD) for state in (*CONFIRMED, ServerState.STALE)),
    }
)


def takes_attempts(state: str, standing: str) -> bool:
    """Whether attempts may be sent to a server of this state and standing, room or not."""
    return state == ServerState.HEALTHY and standing == Standing.SERVING


STANDING_MOVES: frozenset[tuple[Standing, Standing]] = frozenset(
    {
        (Standing.SERVING, Standing.DRAINED),
        (Standing.SERVING, Standing.LEAVING),
        (Standing.DRAINED, Standing.SERVING),
        (Standing.DRAINED, Standing.LEAVING),
        (Standing.LEAVING, Standing.SERVING),
        (Standing.LEAVING, Standing.GONE),
    }
)


def move_prompt(current: PromptState, to: PromptState) -> PromptState:
    """The state after the move; raises IllegalMove if the table does not have it."""
    return _moved("prompt", PROMPT_MOVES, current, to)


def move_run(current: RunState, to: RunState) -> RunState:
    """The state after the move; raises IllegalMove if the table does not have it."""
    return _moved("run", RUN_MOVES, current, to)


def move_server(current: ServerState, to: ServerState) -> ServerState:
    """The state after the move; raises IllegalMove if the table does not have it."""
    return _moved("server", SERVER_MOVES, current, to)


def move_standing(current: Standing, to: Standing) -> Standing:
    """The standing after the move; raises IllegalMove if the table does not have it."""
    return _moved("server", STANDING_MOVES, current, to)


def _moved(what: str, moves: frozenset[tuple[_State, _State]], current: _State, to: _State) -> _State:
    if (current, to) not in moves:
        raise IllegalMove(f"a {what} cannot go from {current} to {to}")
    return to
