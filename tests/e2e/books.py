"""The books of a run that has ended: what scheduler and learner each say became of its attempts, groups and prompts.

Owns: reading both books, and what must be true of them whatever was killed on the way. Never changes anything.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scheduler.cli.answers import Event, Ledger, Prompt, Run, StageLine, read
from scheduler.client import Client
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from tests.e2e.local_service import PROMPT_IDS

Steps = Mapping[int, frozenset[str]]
"""Ids of the groups of each step."""

_DROPPED = ("surplus", "expired", "rolled_back", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything the API tells of a run that has ended."""

    run: Run
    ledger: Ledger
    prompts: tuple[Prompt, ...]
    """Every prompt of the pool with its history."""

    @classmethod
    def read(cls, client: Client, run_id: str) -> "Books":
        """Ask for all of it."""
        return cls(
            run=read(client.run(run_id), Run),
            ledger=read(client.ledger(run_id), Ledger),
            prompts=tuple(read(client.prompt(run_id, prompt_id), Prompt) for prompt_id in PROMPT_IDS),
        )

    def stage(self, stage: Stage) -> StageLine:
        """The ledger's line of one stage."""
        return self.ledger.stages[stage]

    def ended(self, outcome: Outcome) -> int:
        """Attempts of all stages with this outcome."""
        return sum(line.outcomes[outcome] for line in self.ledger.stages.values())

    def groups(self, *ends: str) -> list[str]:
        """Ids of the groups to which one of these happened, as often as it happened."""
        return [event.group_id for event in self._events() if event.what in ends and event.group_id]

    def trained(self) -> Steps:
        """Groups of each step that is saved, as the scheduler wrote them into the prompts' histories."""
        steps: defaultdict[int, set[str]] = defaultdict(set)
        for event in self._events():
            if event.what == "trained":
                assert event.step is not None, event
                steps[event.step].add(event.group_id)
        return {step: frozenset(group_ids) for step, group_ids in steps.items()}

    def _events(self) -> Iterator[Event]:
        return (event for prompt in self.prompts for event in prompt.history)

    def check_closed(self) -> None:
        """The ledger is balanced and has nothing open, the budget held, and every prompt is in one place."""
        assert self.ledger.balanced, self.ledger
        for line in self.ledger.stages.values():
            assert not any(line.open.values()), self.ledger
            assert sum(line.outcomes.values()) == line.attempts, self.ledger
        self._check_budget()
        places = Counter(prompt.state.value for prompt in self.prompts)
        assert {state.value: count for state, count in self.run.prompts.items() if count} == dict(places)
        assert set(places) <= {"ready", "waiting"}

    def _check_budget(self) -> None:
        budget, spend = self.run.config.budget, self.run.spend
        pilots, commits = self.stage(Stage.PILOT), self.stage(Stage.COMMIT)
        assert spend.reserved_rollouts == spend.reserved_tokens == 0, spend
        assert spend.rollouts == pilots.attempts + commits.attempts
        assert spend.tokens == pilots.tokens + commits.tokens
        assert budget.rollouts is not None
        assert spend.rollouts <= budget.rollouts

    def check_groups(self) -> None:
        """Every group that was published ended once: trained, or dropped with its reason; none twice."""
        published = Counter(self.groups("published"))
        assert set(published.values()) == {1}
        assert Counter(self.groups("trained", *_DROPPED)) == published
        assert sorted(self.trained()) == list(range(1, self.run.step + 1))
        assert self.run.checkpointed_step == self.run.step


def learner_book(run_folder: Path) -> Steps:
    """Groups of each step as the learner's checkpoints have them, which the scheduler never wrote to."""
    steps: dict[int, frozenset[str]] = {}
    for path in sorted(run_folder.glob("checkpoints/step-*/progress.json")):
        for step, group_ids in json.loads(path.read_bytes())["trained"].items():
            assert steps.setdefault(int(step), frozenset(group_ids)) == frozenset(group_ids), (path, step)
    return steps
