"""A run's story: sentences with the answer's own numbers, and nothing about what did not happen."""

import pytest

from scheduler.cli import words
from scheduler.cli.explanation_answers import NewestWeights
from scheduler.cli.run_story import run_story
from scheduler.core.course import CourseEvent, Turn
from scheduler.core.lifecycle import RunState
from tests.scheduler.cli.told import make_story


def test_a_run_at_work_is_told_from_what_was_asked_for_to_what_it_does_now() -> None:
    story = run_story(make_story(state_s={RunState.RUNNING: 70.0, RunState.QUEUED: 0.2}), now=100.0)
    assert story == [
        "It trains on sums by pilot_commit, 4 groups of 2 pilots and 6 commits a step, at most 1 version stale, "
        "without a limit.",
        f"It was created at {words.clock(0.0)}, and has not claimed a prompt yet.",
        "It has spent 1 min 10 s running.",
        "The learner has applied 3 steps and saved 2: 10 groups are trained.",
        "Commits: 40 attempts, 400 tokens: 40 trained.",
        "It is running, and work flows.",
    ]


@pytest.mark.parametrize(
    ("state", "reason", "waiting_for", "said"),
    [
        (RunState.RUNNING, "", "a learner to attach", "It is running and waits for a learner to attach."),
        (RunState.PAUSED, "by hand", "by hand", "It is paused: by hand."),
        (RunState.QUEUED, "", "", "It is queued: its turn has come."),
        (
            RunState.DRAINING,
            "all is spent",
            "the last evaluation",
            "It is draining (all is spent) and waits for the last evaluation.",
        ),
    ],
)
def test_the_last_sentence_says_what_it_waits_for(state: RunState, reason: str, waiting_for: str, said: str) -> None:
    assert run_story(make_story(state=state, reason=reason, waiting_for=waiting_for), now=9.0)[-1] == said


def test_a_run_that_has_ended_says_when_and_why() -> None:
    story = make_story(state=RunState.FAILED, reason="its pool is gone", ended_at=10.0)
    assert run_story(story, now=70.0)[-1] == (
        f"It ended at {words.clock(10.0)}, 1 min 0 s ago, as failed: its pool is gone."
    )


def test_learners_schedulers_pauses_and_stalls_are_counted_and_told() -> None:
    course = (
        CourseEvent(at=1.0, what=Turn.SCHEDULER),
        CourseEvent(at=2.0, what=Turn.LEARNER, who="one", step=0),
        CourseEvent(at=3.0, what=Turn.STATE, state=RunState.PAUSED, reason="by hand"),
        CourseEvent(at=8.0, what=Turn.STATE, state=RunState.RUNNING),
        CourseEvent(at=9.0, what=Turn.LEARNER, who="two", step=4, redelivered=3, rolled_back=1),
        CourseEvent(at=9.5, what=Turn.STALL, reason="a learner to attach"),
    )
    told = run_story(make_story(course=course), now=20.0)
    for sentence in (
        "A scheduler took it up once.",
        f"A learner attached twice, last at {words.clock(9.0)} as two, resuming from step 4.",
        "Groups that an earlier learner had left: 3 delivered again and 1 rolled back.",
        f"It was paused once: at {words.clock(3.0)} for 5 s (by hand).",
        f"It stood still once, waiting at {words.clock(9.5)} for a learner to attach.",
    ):
        assert sentence in told


def test_a_pause_that_lasts_is_told_up_to_now() -> None:
    course = (CourseEvent(at=3.0, what=Turn.STATE, state=RunState.PAUSED, reason="by hand"),)
    told = run_story(make_story(state=RunState.PAUSED, course=course), now=63.0)
    assert f"It was paused once: at {words.clock(3.0)} for 1 min 0 s (by hand)." in told


def test_weights_say_which_version_is_live() -> None:
    newest = NewestWeights(version=9, state="live", step=8, announced_at=10.0, live_at=11.0, push_s=0.25)
    told = run_story(make_story(newest=newest), now=13.0)
    assert (
        "The learner has published 9 weight versions, the last one after step 8 3 s ago; its push took 0.2 s; "
        "none has been live."
    ) in told
