"""What must be true after everything that went wrong.

Owns: the invariants, and the check of a run's evidence against them. Never asks for evidence. Invariants: pure; one
that is broken is named with what broke it; nothing that is missing from the evidence counts as right.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.budget import Budget
from scheduler.core.ledger import Ledger
from scheduler.core.lifecycle import ENDED, PromptState, RunState

Steps = Mapping[int, frozenset[str]]
"""Ids of the groups of each step."""

_RESTING = frozenset({PromptState.READY, PromptState.WAITING, PromptState.QUARANTINED})


class Invariant(StrEnum):
    """What must be true."""

    RUN_ENDED = "every run ends"
    """Whatever was killed, the run came to its own end in bounded time."""
    NO_GROUP_LOST = "no group is lost"
    """Each published group ended once: trained, or dropped with its reason."""
    NONE_TRAINED_TWICE = "no group is trained twice"
    """Across all incarnations of the learner, and learner and scheduler agree on what was trained in which step."""
    ATTEMPTS_BALANCED = "every attempt is accounted for"
    """Attempts are the sum of outcomes, nothing is open, and servers saw no attempt that the ledger does not have."""
    BUDGET_HELD = "the budget is never exceeded"
    """Neither what was spent, nor what the servers were asked for, is more than was allowed."""
    NO_PROMPT_LOST = "no prompt is lost"
    """Each prompt of the pool is in one place, from where it can come back."""
    VERSIONS_CONFIRMED = "no rollout is of an unconfirmed version"
    """The log-prob of each delivered token is that of the weights that its version stands for."""
    NOTHING_PAUSED = "no server is left paused"
    """Each server generates when all is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """What is known of a run after its end."""

    run_id: str
    state: RunState
    budget: Budget
    ledger: Ledger
    num_prompts: int
    """Of the pool."""
    prompts: Mapping[str, PromptState]
    published: Sequence[str]
    """Groups, each as often as a prompt's history says that it was published."""
    dropped: Sequence[str]
    """Groups that ended untrained, each as often as a history says so."""
    trained: Sequence[tuple[int, str]]
    """Step and group, each as often as a history says so."""
    learnt: Sequence[tuple[int, str]]
    """Step and group, as the learner's last checkpoint has them: all that its policy was ever trained on."""
    num_served: int
    """Attempts that reached a server, as the servers counted them."""
    num_delivered: int
    """Groups that the learner received."""
    misattributed: Sequence[str]
    """Groups that the learner received with a token that the weights of its version would not have given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that is broken."""

    invariant: Invariant
    run_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.run_id}: {self.invariant}: {self.detail}"


def violations_of(run: RunEvidence) -> list[Violation]:
    """Everything that is wrong with a run."""
    checks = {
        Invariant.RUN_ENDED: _ended(run),
        Invariant.NO_GROUP_LOST: _groups(run),
        Invariant.NONE_TRAINED_TWICE: _training(run),
        Invariant.ATTEMPTS_BALANCED: _attempts(run),
        Invariant.BUDGET_HELD: _budget(run),
        Invariant.NO_PROMPT_LOST: _prompts(run),
        Invariant.VERSIONS_CONFIRMED: _versions(run),
    }
    return [
        Violation(invariant=invariant, run_id=run.run_id, detail=detail)
        for invariant, details in checks.items()
        for detail in details
    ]


def left_paused(servers: Mapping[str, bool]) -> list[Violation]:
    """Servers, by name, that are not ready when all is over."""
    return [
        Violation(invariant=Invariant.NOTHING_PAUSED, run_id=name, detail="it is not ready")
        for name, is_ready in servers.items()
        if not is_ready
    ]


def _ended(run: RunEvidence) -> Iterator[str]:
    if run.state not in ENDED or run.state is RunState.FAILED:
        yield f"it is {run.state}"


def _groups(run: RunEvidence) -> Iterator[str]:
    published = Counter(run.published)
    ended = Counter(run.dropped) + Counter(group_id for _, group_id in run.trained)
    yield from (f"group {name} was published {count} times" for name, count in published.items() if count > 1)
    yield from (f"group {name} was published and never ended" for name in published if name not in ended)
    yield from (f"group {name} ended {count} times" for name, count in ended.items() if count > 1)
    yield from (f"group {name} ended and was never published" for name in ended if name not in published)


def _training(run: RunEvidence) -> Iterator[str]:
    for who, pairs in (("the scheduler", run.trained), ("the learner", run.learnt)):
        counts = Counter(group_id for _, group_id in pairs)
        yield from (f"{who} has group {name} {count} times" for name, count in counts.items() if count > 1)
    yield from (
        f"{'only the learner' if pair in run.learnt else 'only the scheduler'} has group {pair[1]} in step {pair[0]}"
        for pair in sorted(set(run.trained) ^ set(run.learnt))
    )


def _attempts(run: RunEvidence) -> Iterator[str]:
    for stage, line in run.ledger.stages.items():
        if line.attempts != sum(line.outcomes.values()):
            yield f"{line.attempts} attempts of stage {stage} have {sum(line.outcomes.values())} outcomes"
        yield from (f"{count} attempts of stage {stage} are {state}" for state, count in line.open.items() if count)
    attempts = sum(line.attempts for line in run.ledger.stages.values())
    if run.num_served > attempts:
        yield f"servers saw {run.num_served} attempts, the ledger has {attempts}"


def _budget(run: RunEvidence) -> Iterator[str]:
    ledger = run.ledger
    if ledger.reserved_rollouts or ledger.reserved_tokens:
        yield f"{ledger.reserved_rollouts} rollouts and {ledger.reserved_tokens} tokens are still reserved"
    lines = {
        "rollouts spent": (ledger.spent_rollouts, run.budget.rollouts),
        "tokens spent": (ledger.spent_tokens, run.budget.tokens),
        "rollouts asked of servers": (run.num_served, run.budget.rollouts),
    }
    yield from (
        f"{amount} {what} of {allowed}"
        for what, (amount, allowed) in lines.items()
        if allowed is not None and amount > allowed
    )


def _prompts(run: RunEvidence) -> Iterator[str]:
    if len(run.prompts) != run.num_prompts:
        yield f"{len(run.prompts)} of {run.num_prompts} prompts are known"
    yield from (f"prompt {name} is {state}" for name, state in run.prompts.items() if state not in _RESTING)


def _versions(run: RunEvidence) -> Iterator[str]:
    if run.learnt and not run.num_delivered:
        yield "nothing of what the learner was given is on record"
    yield from (f"group {name} has a token of other weights" for name in run.misattributed)
