"""What the API answers when it is asked what happened.

Owns: the response models of the stories and how they are filled. Never computes and never words.
"""

from collections.abc import Mapping
from typing import Literal, Self

import msgspec

from scheduler.api.learner_responses import Weights
from scheduler.api.response import Response
from scheduler.api.run_responses import LedgerPage, PromptPage, Run
from scheduler.core.course import CourseEvent
from scheduler.explanations import PromptStory, RunStory, VisitStory
from scheduler.state.records import Attempt, Ending
from scheduler.state.unsolved import UnsolvedPage, WrongAnswer
from scheduler.state.visit import Visit


class RunExplanation(Response):
    """What happened to a run."""

    kind: Literal["run"] = "run"
    run: Run
    ledger: LedgerPage
    course: list[CourseEvent]
    """Changes of state, learners, schedulers and stalls, oldest first, the last five hundred."""
    state_s: dict[str, float]
    """Seconds spent in each state."""
    newest_weights: Weights | None

    @classmethod
    def of(cls, story: RunStory) -> Self:
        """The story."""
        view, newest = story.view, story.newest_weights
        return cls(
            run=Run.of(view),
            ledger=LedgerPage.of(view.ledger, view.counters),
            course=list(story.course),
            state_s={state.value: seconds for state, seconds in story.state_s.items()},
            newest_weights=None if newest is None else Weights.of(newest),
        )


class AttemptPage(Response):
    """One attempt."""

    rid: str
    stage: str
    status: str
    """Where it stands, or how it ended: as in the ledger."""
    server: str
    """Empty while it is in flight, and where the scheduler that sent it is gone."""
    oldest_version: int | None
    """Of the weight versions behind its tokens; None without a completion."""
    newest_version: int | None
    tokens: int
    reward: float | None
    correct: bool | None
    finish_reason: str | None
    reason: str
    """Why it has no reward."""

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """The attempt as recorded."""
        return cls(**msgspec.structs.asdict(attempt))


class EndingPage(Response):
    """How a visit, or the group it became, ended."""

    at: float
    version: int
    what: str
    reason: str
    step: int | None
    outcome: str | None
    """Of the rollouts."""

    @classmethod
    def of(cls, ending: Ending | None) -> "EndingPage | None":
        """The ending, if there is one."""
        return None if ending is None else cls(**msgspec.structs.asdict(ending))


class VisitPage(Response):
    """One visit to a prompt; a group has the id of the visit it was made in."""

    visit_id: str
    prompt_id: str
    status: str
    """Where its rollouts stand, or what became of them: as in the ledger."""
    attempts: list[AttemptPage]
    ending: EndingPage | None
    """None while it is open."""
    group_ending: EndingPage | None
    """None while its group is open, and if it became none."""
    batch_step: int | None
    """The step of the batch that its open group is in."""

    @classmethod
    def of(cls, story: VisitStory) -> Self:
        """The visit as recorded."""
        return cls(
            visit_id=story.visit_id,
            prompt_id=story.prompt_id,
            status=story.status,
            attempts=[AttemptPage.of(attempt) for attempt in story.attempts],
            ending=EndingPage.of(story.ending),
            group_ending=EndingPage.of(story.group_ending),
            batch_step=story.batch_step,
        )


class OpenVisit(Response):
    """The visit that a claimed prompt is in."""

    visit_id: str
    reserved: int
    """Rollouts reserved and not yet asked for."""
    in_flight: int
    held: int

    @classmethod
    def of(cls, visit: Visit | None) -> "OpenVisit | None":
        """The visit's counts, if there is one."""
        if visit is None:
            return None
        in_flight, held = sum(visit.in_flight.values()), sum(visit.held.values())
        return cls(visit_id=visit.visit_id, reserved=visit.reserved, in_flight=in_flight, held=held)


class PromptExplanation(Response):
    """What happened to a prompt in a run."""

    kind: Literal["prompt"] = "prompt"
    prompt: PromptPage
    policy_version: int
    """Weight version of the learner's policy now."""
    run_state: str
    position: int | None
    """How many claimable prompts come before it; None if it is not claimable."""
    open_visit: OpenVisit | None
    visits: list[VisitPage]
    """Those of its history that are still recorded, newest first."""

    @classmethod
    def of(cls, story: PromptStory) -> Self:
        """The story."""
        return cls(
            prompt=PromptPage.of(story.prompt),
            policy_version=story.policy_version,
            run_state=story.run_state,
            position=story.position,
            open_visit=OpenVisit.of(story.open_visit),
            visits=[VisitPage.of(visit) for visit in story.visits],
        )


class GroupExplanation(Response):
    """What happened in a visit, and to the group it became."""

    kind: Literal["group"] = "group"
    visit: VisitPage


class RolloutExplanation(Response):
    """What happened to one attempt."""

    kind: Literal["rollout"] = "rollout"
    attempt: AttemptPage
    visit: VisitPage


Explanation = RunExplanation | PromptExplanation | GroupExplanation | RolloutExplanation


def group_explanation(story: VisitStory) -> GroupExplanation:
    """A visit's story."""
    return GroupExplanation(visit=VisitPage.of(story))


def rollout_explanation(story: VisitStory, attempt: Attempt) -> RolloutExplanation:
    """An attempt's story."""
    return RolloutExplanation(attempt=AttemptPage.of(attempt), visit=VisitPage.of(story))


class Unsolved(Response):
    """A prompt never solved."""

    prompt_id: str
    rollouts: int
    """Pilots and commits so far, none of them right."""
    answer: str
    """The reference answer, which may be what is wrong."""
    answered: WrongAnswer | None
    """What its last visit answered most often; None if its completions had no text."""


class UnsolvedPrompts(Response):
    """Prompts never solved, most rollouts first."""

    total: int
    """All that have as many rollouts as asked for; a page has some of them."""
    prompts: list[Unsolved]

    @classmethod
    def of(cls, page: UnsolvedPage, answers: Mapping[str, str]) -> Self:
        """One page with the reference answers."""
        return cls(
            total=page.total,
            prompts=[
                Unsolved(
                    prompt_id=each.prompt_id,
                    rollouts=each.rollouts,
                    answer=answers[each.prompt_id],
                    answered=each.answered,
                )
                for each in page.prompts
            ],
        )
