"""The ledger: what became of every attempt.

Owns: open states, outcomes, the table of legal moves, and the arithmetic. Never decides, never knows Redis.
Invariant: attempts made = sum over open states and outcomes, per stage, after every move.

An attempt exists from the moment it is launched. What a claim reserves before that is a line of the budget:
a reservation that is refunded asked nothing of any server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.errors import IllegalMove
from scheduler.core.types import Stage, Verdict


class OpenState(StrEnum):
    """Where an attempt stands before its outcome is known."""

    IN_FLIGHT = "in_flight"
    """Asked of a server, or being rewarded."""
    HELD = "held"
    """A rollout that waits: for its group's verdict, for a slot, or for the rest of its group."""
    PUBLISHED = "published"
    """In a completed group that the learner can take."""
    APPLIED = "applied"
    """The learner has stepped on it, and has not yet saved that step."""


class Outcome(StrEnum):
    """How an attempt ended: exactly one each."""

    TRAINED = "trained"
    """Part of a step that is saved."""
    SKIPPED = "skipped"
    """Its prompt was judged SKIP."""
    DEFERRED = "deferred"
    """Its prompt was judged DEFER."""
    EVICTED = "evicted"
    """Its prompt was judged EVICT."""
    SURPLUS = "surplus"
    """In a good group that no batch needed."""
    INCOMPLETE = "incomplete"
    """Its group could not be completed."""
    EXPIRED = "expired"
    """Too stale to train on, or called back because it would have been."""
    CANCELLED = "cancelled"
    """Its run ended or was cancelled first, or it was called back as a straggler."""
    ROLLED_BACK = "rolled_back"
    """Applied by a step that was lost with its learner, and too stale to deliver again."""
    EVALUATED = "evaluated"
    """An evaluation rollout: it measured the policy."""
    FAILED = "failed"
    """The server refused it, or its reward raised or hung: never counted as a zero."""
    LOST = "lost"
    """Its server or its scheduler went away; charged in full."""


Status = OpenState | Outcome

_ENDS_OF_HELD = (
    Outcome.SKIPPED,
    Outcome.DEFERRED,
    Outcome.EVICTED,
    Outcome.SURPLUS,
    Outcome.INCOMPLETE,
    Outcome.EXPIRED,
    Outcome.CANCELLED,
)
LEGAL_MOVES: Mapping[OpenState | None, frozenset[Status]] = {
    None: frozenset({OpenState.IN_FLIGHT}),
    OpenState.IN_FLIGHT: frozenset(
        {OpenState.HELD, Outcome.EVALUATED, Outcome.FAILED, Outcome.LOST, Outcome.CANCELLED, Outcome.EXPIRED}
    ),
    OpenState.HELD: frozenset({OpenState.PUBLISHED, *_ENDS_OF_HELD}),
    OpenState.PUBLISHED: frozenset({OpenState.APPLIED, Outcome.EXPIRED, Outcome.SURPLUS, Outcome.CANCELLED}),
    OpenState.APPLIED: frozenset({OpenState.PUBLISHED, Outcome.TRAINED, Outcome.ROLLED_BACK}),
}

VERDICT_OUTCOMES: Mapping[Verdict, Outcome] = {
    Verdict.SKIP: Outcome.SKIPPED,
    Verdict.DEFER: Outcome.DEFERRED,
    Verdict.EVICT: Outcome.EVICTED,
}
"""What becomes of the pilots of a visit that is not committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """`count` attempts of one stage go from one status to another; `source` None launches them."""

    stage: Stage
    source: OpenState | None
    to: Status
    count: int

    def __post_init__(self) -> None:
        if self.to not in LEGAL_MOVES[self.source]:
            raise IllegalMove(f"an attempt cannot go from {self.source or 'nothing'} to {self.to}")
        if self.count < 0:
            raise IllegalMove(f"a move of {self.count} attempts")


def counter(stage: Stage, status: Status) -> str:
    """The name of the counter of one stage and status."""
    return f"{stage}:{status}"


def attempts_counter(stage: Stage) -> str:
    """The name of the counter of attempts made."""
    return f"attempts:{stage}"


def deltas(moves: Iterable[Move]) -> dict[str, int]:
    """Counter increments of the moves together, zeros left out."""
    total: dict[str, int] = {}

    def add(name: str, count: int) -> None:
        total[name] = total.get(name, 0) + count

    for move in moves:
        if move.source is None:
            add(attempts_counter(move.stage), move.count)
        else:
            add(counter(move.stage, move.source), -move.count)
        add(counter(move.stage, move.to), move.count)
    return {name: count for name, count in total.items() if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLine:
    """The ledger of one stage."""

    attempts: int = 0
    open: Mapping[OpenState, int] = field(default_factory=dict)
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    tokens: int = 0
    """Generated tokens, lost attempts charged at their worst case."""
    prompt_tokens: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether open states and outcomes sum to the attempts made."""
        return self.attempts == sum(self.open.values()) + sum(self.outcomes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The whole ledger of a run at one moment."""

    stages: Mapping[Stage, StageLine]
    reserved_rollouts: int = 0
    reserved_tokens: int = 0
    spent_rollouts: int = 0
    spent_tokens: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether every stage is."""
        return all(line.is_balanced for line in self.stages.values())

    @classmethod
    def from_counters(cls, counters: Mapping[str, int]) -> "Ledger":
        """Read the ledger from its counters; missing ones are zero."""

        def line(stage: Stage) -> StageLine:
            return StageLine(
                attempts=counters.get(attempts_counter(stage), 0),
                open={state: counters.get(counter(stage, state), 0) for state in OpenState},
                outcomes={outcome: counters.get(counter(stage, outcome), 0) for outcome in Outcome},
                tokens=counters.get(f"tokens:{stage}", 0),
                prompt_tokens=counters.get(f"prompt_tokens:{stage}", 0),
            )

        return cls(
            stages={stage: line(stage) for stage in Stage},
            reserved_rollouts=counters.get("reserved:rollouts", 0),
            reserved_tokens=counters.get("reserved:tokens", 0),
            spent_rollouts=counters.get("spent:rollouts", 0),
            spent_tokens=counters.get("spent:tokens", 0),
        )
