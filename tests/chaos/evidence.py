"""What is known of a run that has ended: from the scheduler, the learner's own book, and the servers' witnesses.

Owns: gathering. Never judges. Invariant: what the scheduler says, what the learner noted and what the servers saw are
read apart, so that each can give the others the lie.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from inference.fake import BigramPolicy
from scheduler.cli import answers
from scheduler.cli.answers import Event, Prompt, Run, read
from scheduler.client import Client
from scheduler.core.ledger import Ledger, StageLine
from scheduler.core.types import Group, Rollout
from tests.chaos.cluster import Cluster
from tests.chaos.invariants import RunEvidence
from tests.chaos.learner_book import LearnerBook
from tests.e2e.books import learner_book

_DROPPED = frozenset({"surplus", "expired", "rolled_back", "cancelled"})
_SAME = 1e-6
"""Log-probs that differ by more are of other weights."""


async def gather(cluster: Cluster, run_id: str, prompt_ids: Iterable[str]) -> RunEvidence:
    """Everything about one run."""
    run = await cluster.ask(lambda client: read(client.run(run_id), Run))
    ledger = await cluster.ask(lambda client: read(client.ledger(run_id), answers.Ledger))
    weights = await cluster.ask(lambda client: _paths(client, run_id))
    prompts = [await cluster.ask(partial(_prompt, run_id=run_id, prompt_id=name)) for name in prompt_ids]
    book, folder = LearnerBook(folder=cluster.learner_folder(run_id)), cluster.learner_folder(run_id)
    delivered = list(book.delivered())
    published, dropped, trained = _ends(event for prompt in prompts for event in prompt.history)
    return RunEvidence(
        run_id=run_id,
        state=run.state,
        budget=run.config.budget,
        ledger=_ledger(ledger),
        num_prompts=len(prompts),
        prompts={prompt.prompt_id: prompt.state for prompt in prompts},
        published=published,
        dropped=dropped,
        trained=trained,
        learnt=_learnt_by_real(folder) if cluster.is_real else _learnt(book),
        num_served=0 if cluster.is_real else _served(cluster.folder, run_id),
        num_delivered=_num_in_checkpoints(folder) if cluster.is_real else len(delivered),
        misattributed=() if cluster.is_real else _misattributed(delivered, _weights_of(book, weights)),
    )


def _prompt(client: Client, *, run_id: str, prompt_id: str) -> Prompt:
    return read(client.prompt(run_id, prompt_id), Prompt)


def _paths(client: Client, run_id: str) -> dict[int, str]:
    records = (read(record, answers.Weights) for record in client.all_weights(run_id))
    return {record.version: record.path for record in records}


def _ledger(found: answers.Ledger) -> Ledger:
    return Ledger(
        stages={
            stage: StageLine(attempts=line.attempts, open=line.open, outcomes=line.outcomes, tokens=line.tokens)
            for stage, line in found.stages.items()
        },
        reserved_rollouts=found.reserved_rollouts,
        reserved_tokens=found.reserved_tokens,
        spent_rollouts=found.spent_rollouts,
        spent_tokens=found.spent_tokens,
    )


def _ends(events: Iterator[Event]) -> tuple[list[str], list[str], list[tuple[int, str]]]:
    published, dropped, trained = [], [], []
    for event in events:
        if event.what == "published":
            published.append(event.group_id)
        elif event.what == "trained":
            trained.append((event.step or 0, event.group_id))
        elif event.what in _DROPPED and event.group_id:
            dropped.append(event.group_id)
    return published, dropped, trained


def _learnt(book: LearnerBook) -> list[tuple[int, str]]:
    return [(step, group_id) for step, group_ids in book.saved().lineage.items() for group_id in group_ids]


def _learnt_by_real(folder: Path) -> list[tuple[int, str]]:
    return [(step, group_id) for step, group_ids in learner_book(folder).items() for group_id in group_ids]


def _num_in_checkpoints(folder: Path) -> int:
    return len(_learnt_by_real(folder))


def _served(folder: Path, run_id: str) -> int:
    lines = [line for path in folder.glob("*.witness") for line in path.read_text().splitlines()]
    return sum(line.startswith(f"{run_id}/") for line in lines)


def _weights_of(book: LearnerBook, paths: Mapping[int, str]) -> dict[int, str]:
    digests = book.digests()
    return {version: digests[path] for version, path in paths.items() if path in digests}


def _misattributed(delivered: Iterable[Group], weights: Mapping[int, str]) -> list[str]:
    policy = BigramPolicy()
    return [
        group.group_id
        for group in delivered
        if not all(_is_of(rollout, group.prompt_ids[-1], weights, policy) for rollout in group.rollouts)
    ]


def _is_of(rollout: Rollout, last_prompt_id: int, weights: Mapping[int, str], policy: BigramPolicy) -> bool:
    """Whether each token's log-prob is what the weights of its version give it after the token before it.

    The first token of a later span is left out: the fake goes on with what the new weights would have said all along.
    """
    ids = (last_prompt_id, *rollout.token_ids)
    for span in rollout.spans:
        if span.version not in weights:
            return False
        first = span.start + (span.start > 0)
        expected = policy.score(ids[first : span.end + 1], weights[span.version])
        found = rollout.logprobs[first : span.end]
        if any(abs(one - other) > _SAME for one, other in zip(found, expected, strict=True)):
            return False
    return True
