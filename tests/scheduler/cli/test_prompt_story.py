"""A prompt's story: when it can be claimed and why, and its visits."""

import msgspec
import pytest

from scheduler.cli import words
from scheduler.cli.explanation_answers import OpenVisit, PromptExplanation
from scheduler.cli.prompt_story import history, prompt_story
from scheduler.core.lifecycle import PromptState, RunState
from tests.scheduler.cli.told import make_attempt, make_ending, make_history, make_prompt_story, make_visit

_WAITING = PromptState.WAITING


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (make_prompt_story(position=0), "It can be claimed; 0 prompts come before it."),
        (make_prompt_story(position=1), "It can be claimed; 1 prompt comes before it."),
        (
            make_prompt_story(run_state=RunState.PAUSED),
            "It can be claimed, as soon as the run is running (it is paused).",
        ),
        (make_prompt_story(run_state=RunState.FINISHED), "It is not claimed any more: the run is finished."),
        (
            make_prompt_story(state=_WAITING, next_version=7, reason="too_hard"),
            "It waits until weight version 7 (too hard), 2 versions after the policy's, which is 5 now; it is claimed "
            "earlier only if no other prompt is left.",
        ),
        (
            make_prompt_story(state=_WAITING, reason="solved"),
            "It never returns (solved), unless `pilotcommit prompt reinstate` brings it back.",
        ),
        (
            make_prompt_story(state=PromptState.QUARANTINED),
            "It is quarantined, and not claimed again unless `pilotcommit prompt reinstate` brings it back.",
        ),
        (
            make_prompt_story(
                state=PromptState.CLAIMED, open_visit=OpenVisit(visit_id="v", reserved=4, in_flight=3, held=1)
            ),
            "It is in a visit now v: 3 in flight, 1 held and 4 reserved; when that ends, its verdict says when it can "
            "be claimed again.",
        ),
    ],
)
def test_it_says_whether_the_prompt_can_be_claimed_and_when(found: PromptExplanation, said: str) -> None:
    assert prompt_story(found) == ["It was never visited.", said]


def test_every_event_is_told_once_oldest_first() -> None:
    found = make_prompt_story()
    events = (
        make_history("reinstated"),
        make_history("trained", group_id="v", step=7),
        make_history("published", visit_id="v", group_id="v"),
        make_history("defer", visit_id="u", reason="too_hard"),
    )
    visit = make_visit(
        *(make_attempt() for _ in range(8)), ending=make_ending(), group_ending=make_ending("trained", step=7)
    )
    found = msgspec.structs.replace(
        found, prompt=msgspec.structs.replace(found.prompt, history=events), visits=(visit,)
    )
    began = f"{words.clock(0.0)}  version 4: "
    assert history(found) == [
        f"{began}visit u, 3 of 4 pilots right: defer (too hard)",
        f"{began}visit v, 3 of 4 pilots right: commit; 8 of 8 rollouts right, trained in step 7",
        f"{began}group v trained in step 7",
        f"{began}reinstated",
    ]
