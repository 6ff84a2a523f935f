"""The story of a visit, of the group it became, and of one attempt in it, in sentences.

Owns: which facts become which sentence. Pure. Invariant: what is not recorded is not told.
"""

from collections import Counter

from scheduler.cli import words
from scheduler.cli.explanation_answers import Attempt, Ending, Visit
from scheduler.core.ledger import OpenState, Outcome


def visit_story(found: Visit) -> list[str]:
    """What happened in a visit, and to its group."""
    return [
        f"Visit {found.visit_id} was made to prompt {found.prompt_id}: {_attempts(found)}.",
        *([f"Its rollouts are of {versions}."] if (versions := _versions(found)) else []),
        _end(found),
    ]


def rollout_story(attempt: Attempt, found: Visit) -> list[str]:
    """What happened to one attempt."""
    where = f" on {attempt.server}" if attempt.server else ""
    return [
        f"{attempt.rid} is a {attempt.stage} of prompt {found.prompt_id}, made in visit {found.visit_id}{where}.",
        _came_of(attempt),
        *([_end(found)] if attempt.reward is not None else []),
    ]


def visit_ended(found: Visit) -> str:
    """How the visit ended and what became of its group, without a subject: to follow a line of a history."""
    told = _rollouts(found)
    return f"{told}, {_group(found)}" if found.ending and found.ending.what == "published" else told


def _attempts(found: Visit) -> str:
    stages = Counter(attempt.stage.value for attempt in found.attempts)
    asked = words.listed(words.plural(count, stage) for stage, count in stages.items())
    return f"{asked or 'nothing'} asked for, {_rollouts(found)}"


def _rollouts(found: Visit) -> str:
    rewarded = found.rewarded
    right = sum(bool(attempt.correct) for attempt in rewarded)
    odd = Counter(
        words.spaced(attempt.status)
        for attempt in found.attempts
        if attempt.reward is None and attempt.status != OpenState.IN_FLIGHT
    )
    flying = sum(attempt.status == OpenState.IN_FLIGHT for attempt in found.attempts)
    parts = [f"{right:,} of {words.plural(len(rewarded), 'rollout')} right"]
    parts += [f"{count:,} {status}" for status, count in odd.items()]
    return words.listed([*parts, *([f"{flying:,} in flight"] if flying else [])])


def _versions(found: Visit) -> str:
    oldest = [attempt.oldest_version for attempt in found.attempts if attempt.oldest_version is not None]
    newest = [attempt.newest_version for attempt in found.attempts if attempt.newest_version is not None]
    return f"weight {words.versions(min(oldest), max(newest))}" if oldest and newest else ""


def _end(found: Visit) -> str:
    ending = found.ending
    if ending is None:
        return "The visit is still open."
    if ending.what == "published":
        return f"Its group was published at {words.clock(ending.at)}, {_group(found)}."
    reason = f", {words.spaced(ending.reason)}" if ending.reason else ""
    became = f"; its rollouts are {words.spaced(found.status)}" if found.rewarded else ""
    what = words.spaced(ending.what)
    return f"It ended at {words.clock(ending.at)}, at version {ending.version}, as {what}{reason}{became}."


def _group(found: Visit) -> str:
    """What became of its group, to follow a comma."""
    if found.group_ending is not None:
        return _group_ended(found.group_ending)
    if found.status == OpenState.APPLIED:
        return f"applied in step {found.batch_step}, which is not saved yet"
    if found.batch_step is not None:
        return f"in the batch of step {found.batch_step}, which the learner has not applied yet"
    return "and no batch has taken it yet"


def _group_ended(ending: Ending) -> str:
    if ending.what == Outcome.TRAINED:
        return f"trained in step {ending.step}"
    reason = f": {ending.reason}" if ending.reason else ""
    return f"{words.spaced(ending.what)} at version {ending.version}{reason}"


def _came_of(attempt: Attempt) -> str:
    if attempt.status == OpenState.IN_FLIGHT:
        return "It is in flight."
    if attempt.reward is None:
        return f"It {'was' if attempt.status != Outcome.FAILED else 'has'} {attempt.status}: {attempt.reason}."
    versions = (
        f", sampled by weight {words.versions(attempt.oldest_version, attempt.newest_version)}"
        if attempt.oldest_version is not None and attempt.newest_version is not None
        else ""
    )
    right = "right" if attempt.correct else "wrong"
    return (
        f"It is {words.plural(attempt.tokens, 'token')} long{versions}, ended by {attempt.finish_reason}, and "
        f"{right}, with a reward of {attempt.reward:g}."
    )
