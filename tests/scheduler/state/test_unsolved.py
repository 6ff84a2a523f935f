"""Prompts never solved: which they are, in which order, and what they answer."""

from dataclasses import replace

import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.core.types import Rollout, Stage
from scheduler.state.row import Row
from scheduler.state.unsolved import ANSWER_BYTES, UnsolvedPage, WrongAnswer, unsolved, wrong_answer
from scheduler.state.visit import Landing, Trace
from tests.factories import make_rollout
from tests.scheduler.state.stores import Stores, make_event


@pytest_asyncio.fixture
async def stores(redis: Redis) -> Stores:
    opened = await Stores.open(redis)
    await opened.seed("p", "q", "r")
    return opened


def _answers(*texts: str, correct: bool = False) -> tuple[Rollout, ...]:
    rollout = make_rollout(reward=float(correct), stage=Stage.PILOT)
    return tuple(replace(rollout, text=text, correct=correct) for text in texts)


async def _visit(stores: Stores, prompt_id: str, rollouts: tuple[Rollout, ...]) -> None:
    """A visit that these pilots came of, and no group."""
    held = await stores.table.rows([prompt_id])
    before = held[prompt_id].evidence if held else Evidence.fresh(Prior(), 0)
    after = before.observed(rollouts, version=1, prior=Prior(), discount=1.0)
    visit = await stores.visits.launch(await stores.claim(prompt_id, rollouts=8), Stage.PILOT, len(rollouts))
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=rollouts), held=rollouts)
    await stores.visits.settle(
        visit,
        Outcome.DEFERRED,
        row=Row(evidence=after),
        state=PromptState.READY,
        event=make_event("defer"),
        trace=Trace(rollouts=rollouts),
    )


async def _page(stores: Stores, *, min_rollouts: int = 1, count: int = 10, offset: int = 0) -> UnsolvedPage:
    return await unsolved(stores.redis, stores.keys, min_rollouts=min_rollouts, count=count, offset=offset)


async def test_those_with_the_most_rollouts_come_first_with_what_they_answer(stores: Stores) -> None:
    await _visit(stores, "p", _answers("1"))
    await _visit(stores, "q", _answers("so 3", "so 4", "so 4"))
    page = await _page(stores)
    assert page.total == 2
    assert [(each.prompt_id, each.rollouts) for each in page.prompts] == [("q", 3), ("p", 1)]
    assert page.prompts[0].answered == WrongAnswer(text="so 4", count=2, rollouts=3)


async def test_a_prompt_once_right_is_listed_no_more_however_often_it_is_wrong_again(stores: Stores) -> None:
    await _visit(stores, "p", _answers("1"))
    await _visit(stores, "p", _answers("2", correct=True))
    assert (await _page(stores)).prompts == ()
    await _visit(stores, "p", _answers("1", "1"))
    assert (await _page(stores)).prompts == ()
    assert not await stores.redis.exists(stores.keys.wrong_answers)


async def test_a_prompt_counts_the_rollouts_of_all_its_visits(stores: Stores) -> None:
    await _visit(stores, "p", _answers("1", "2"))
    await _visit(stores, "p", _answers("3"))
    [found] = (await _page(stores)).prompts
    assert (found.rollouts, found.answered) == (3, WrongAnswer(text="3", count=1, rollouts=1))


async def test_a_page_is_part_of_what_has_enough_rollouts(stores: Stores) -> None:
    for name, count in (("p", 1), ("q", 2), ("r", 3)):
        await _visit(stores, name, _answers(*["no"] * count))
    page = await _page(stores, min_rollouts=2, count=1, offset=1)
    assert (page.total, [each.prompt_id for each in page.prompts]) == (2, ["q"])
    assert (await _page(stores, min_rollouts=4)).total == 0


async def test_a_visit_without_a_rollout_lists_nothing(stores: Stores) -> None:
    await stores.settle(await stores.claim("p"), Outcome.CANCELLED, what="cancelled")
    assert (await _page(stores)).total == 0


def test_of_a_long_completion_the_end_is_kept_and_no_character_is_cut() -> None:
    [rollout] = _answers("é" * ANSWER_BYTES + "7")
    answer = wrong_answer([rollout])
    assert answer is not None
    assert answer.text.endswith("é7")
    assert len(answer.text.encode()) <= ANSWER_BYTES


def test_completions_without_text_are_no_answer() -> None:
    assert wrong_answer(_answers("", " ")) is None
