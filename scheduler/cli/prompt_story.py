"""A prompt's story in sentences: what is believed of it, when it can be claimed, and each of its visits.

Owns: which facts become which sentence. Pure. Invariant: every event of the history is told once, oldest first.
"""

from collections.abc import Iterable, Mapping

from scheduler.cli import words
from scheduler.cli.answers import Event, Prompt
from scheduler.cli.explanation_answers import PromptExplanation, Visit
from scheduler.cli.visit_story import visit_ended
from scheduler.core.lifecycle import ENDED, PromptState, RunState
from scheduler.core.types import Verdict


def prompt_story(found: PromptExplanation) -> list[str]:
    """What is believed of the prompt, and why it can or cannot be claimed now."""
    return [_belief(found.prompt), _claimable(found)]


def history(found: PromptExplanation) -> list[str]:
    """What happened to the prompt, an event a line, oldest first."""
    visits = {visit.visit_id: visit for visit in found.visits}
    return [_event(event, visits) for event in reversed(found.prompt.history)]


def _belief(prompt: Prompt) -> str:
    if not prompt.visits:
        return "It was never visited."
    seen = f"{words.plural(prompt.num_pilots, 'pilot')} and {words.plural(prompt.num_commits, 'commit')}"
    return (
        f"After {words.plural(prompt.visits, 'visit')}, with {seen}, {words.rate(prompt.success_rate)} of its rollouts "
        f"are expected to be right (informativeness {prompt.informativeness or 0.0:.3f}, "
        f"{words.plural(round(prompt.tokens_per_rollout), 'token')} each)."
    )


def _claimable(found: PromptExplanation) -> str:
    if found.run_state in ENDED:
        return f"It is not claimed any more: the run is {found.run_state}."
    match found.prompt.state:
        case PromptState.CLAIMED:
            return _claimed(found)
        case PromptState.WAITING:
            return _waiting(found)
        case PromptState.QUARANTINED:
            return "It is quarantined, and not claimed again unless `pilotcommit prompt reinstate` brings it back."
        case PromptState.READY:
            return _ready(found)


def _claimed(found: PromptExplanation) -> str:
    visit = found.open_visit
    told = "" if visit is None else f" {visit.visit_id}: {_counts(visit.in_flight, visit.held, visit.reserved)}"
    return f"It is in a visit now{told}; when that ends, its verdict says when it can be claimed again."


def _counts(in_flight: int, held: int, reserved: int) -> str:
    return f"{in_flight:,} in flight, {held:,} held and {reserved:,} reserved"


def _waiting(found: PromptExplanation) -> str:
    returns, now = found.prompt.next_version, found.policy_version
    last = ": ".join(part for part in (found.prompt.last_verdict, words.spaced(found.prompt.reason)) if part)
    if returns is None:
        return f"It never returns ({last}), unless `pilotcommit prompt reinstate` brings it back."
    ahead = words.plural(max(0, returns - now), "version")
    return (
        f"It waits until weight version {returns} ({last}), {ahead} after the policy's, which is {now} now; it is "
        "claimed earlier only if no other prompt is left."
    )


def _ready(found: PromptExplanation) -> str:
    place = "" if found.position is None else f"; {words.plural(found.position, 'prompt')} come before it"
    if found.position == 1:
        place = "; 1 prompt comes before it"
    still = "" if found.run_state is RunState.RUNNING else f", as soon as the run is {_until(found.run_state)}"
    return f"It can be claimed{still}{place}."


def _until(state: RunState) -> str:
    return f"running (it is {words.spaced(state)})"


def _event(event: Event, visits: Mapping[str, Visit]) -> str:
    what = "; ".join(_parts(event, visits))
    return f"{words.clock(event.at)}  version {event.version}: {what}"


def _parts(event: Event, visits: Mapping[str, Visit]) -> Iterable[str]:
    name = f"group {event.group_id}" if event.group_id else ""
    if event.visit_id:
        pilots = f"{event.correct} of {words.plural(event.pilots, 'pilot')} right"
        yield f"visit {event.visit_id}, {pilots}: {_verdict(event)}"
        visit = visits.get(event.visit_id)
        # Of a visit that ended with its pilots alone, the pilots say it all.
        if visit is not None and len(visit.attempts) > event.pilots:
            yield visit_ended(visit)
        return
    step = "" if event.step is None else f" in step {event.step}"
    reason = f" ({words.spaced(event.reason)})" if event.reason else ""
    yield f"{name + ' ' if name else ''}{words.spaced(event.what)}{step}{reason}"


def _verdict(event: Event) -> str:
    if event.what == "published":
        return f"{Verdict.COMMIT}"
    return f"{words.spaced(event.what)}{f' ({words.spaced(event.reason)})' if event.reason else ''}"
