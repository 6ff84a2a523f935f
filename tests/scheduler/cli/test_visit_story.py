"""The story of a visit, its group and its attempts."""

import pytest

from scheduler.cli import words
from scheduler.cli.explanation_answers import Visit
from scheduler.cli.visit_story import rollout_story, visit_story
from scheduler.core.types import Stage
from tests.scheduler.cli.told import make_attempt, make_ending, make_visit


def test_a_trained_group_is_told_with_what_came_to_nothing_on_the_way() -> None:
    visit = make_visit(
        make_attempt(),
        make_attempt(reward=0.0, stage=Stage.COMMIT, newest_version=5),
        make_attempt(reward=None, status="lost", reason="gone"),
        ending=make_ending(),
        group_ending=make_ending("trained", step=7),
    )
    assert visit_story(visit) == [
        "Visit v was made to prompt sum-1: 2 pilots and 1 commit asked for, 1 of 2 rollouts right and 1 lost.",
        "Its rollouts are of weight versions 3 to 5.",
        f"Its group was published at {words.clock(0.0)}, trained in step 7.",
    ]


@pytest.mark.parametrize(
    ("visit", "said"),
    [
        (make_visit(make_attempt(status="in_flight", reward=None)), "The visit is still open."),
        (make_visit(ending=make_ending(), status="published"), "and no batch has taken it yet."),
        (
            make_visit(ending=make_ending(), status="published", batch_step=4),
            "in the batch of step 4, which the learner has not applied yet.",
        ),
        (
            make_visit(ending=make_ending(), status="applied", batch_step=4),
            "applied in step 4, which is not saved yet.",
        ),
        (
            make_visit(ending=make_ending(), group_ending=make_ending("expired", reason="refused")),
            "expired at version 4: refused.",
        ),
        (
            make_visit(make_attempt(), status="skipped", ending=make_ending("skip", reason="too_easy")),
            "at version 4, as skip, too easy; its rollouts are skipped.",
        ),
    ],
)
def test_the_last_sentence_says_where_the_visit_or_its_group_stands(visit: Visit, said: str) -> None:
    assert visit_story(visit)[-1].endswith(said)


def test_a_rollout_says_where_it_was_made_with_what_weights_and_what_for() -> None:
    visit = make_visit(make_attempt(), ending=make_ending(), group_ending=make_ending("trained", step=7))
    assert rollout_story(make_attempt(), visit) == [
        "v-1-0 is a pilot of prompt sum-1, made in visit v on http://one.",
        "It is 20 tokens long, sampled by weight version 3, ended by stop, and right, with a reward of 1.",
        f"Its group was published at {words.clock(0.0)}, trained in step 7.",
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("in_flight", "It is in flight."),
        ("lost", "It was lost: gone."),
        ("failed", "It has failed: gone."),
        ("cancelled", "It was cancelled: gone."),
    ],
)
def test_an_attempt_without_a_reward_says_why(status: str, said: str) -> None:
    attempt = make_attempt(status=status, reward=None, reason="gone", server="")
    told = rollout_story(attempt, make_visit())
    assert told == ["v-1-0 is a pilot of prompt sum-1, made in visit v.", said]
