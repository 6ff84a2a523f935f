"""Whole lives of visits: nothing is launched that was not reserved, and every attempt is accounted for."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, IllegalMove
from scheduler.core.ledger import VERDICT_OUTCOMES, OpenState, Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.spend import VISITED, first_verdicts, first_visits
from scheduler.core.types import Stage, Verdict
from scheduler.state.connection import connect
from scheduler.state.visit import Landing, Trace, Visit
from tests.scheduler.state.lossy_link import lossy_link
from tests.scheduler.state.stores import (
    MAX_NEW_TOKENS,
    Stores,
    make_event,
    make_rollouts,
    make_row,
    open_money,
    snapshot,
    spent,
)

PILOTS = make_rollouts(3, tokens=4)
COMMITS = make_rollouts(2, stage=Stage.COMMIT, tokens=6)


async def test_a_visit_that_ends_in_a_group_balances_after_every_step(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.claim(rollouts=5)
    assert open_money(await stores.audit()) == (5, 50)
    visit = await stores.visits.launch(visit, Stage.PILOT, 3)
    ledger = await stores.audit()
    assert (open_money(ledger), spent(ledger)) == ((2, 50), (3, 0))
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=PILOTS, prompt_tokens=21), held=PILOTS)
    ledger = await stores.audit()
    assert (open_money(ledger), spent(ledger)) == ((2, 20), (3, 12))
    visit = await stores.visits.launch(visit, Stage.COMMIT, 2)
    await stores.audit()
    visit = await stores.visits.land(visit, Landing(stage=Stage.COMMIT, rollouts=COMMITS), held=PILOTS + COMMITS)
    ledger = await stores.audit()
    assert (open_money(ledger), spent(ledger)) == ((0, 0), (5, 24))
    entry = await stores.publish(visit)
    ledger = await stores.audit()
    assert (open_money(ledger), spent(ledger)) == ((0, 0), (5, 24))
    assert ledger.stages[Stage.PILOT].open[OpenState.PUBLISHED] == 3
    assert ledger.stages[Stage.COMMIT].open[OpenState.PUBLISHED] == 2
    assert ledger.stages[Stage.PILOT].prompt_tokens == 21
    assert await stores.groups.entries() == [entry]
    assert await stores.visits.open_visits() == []


@pytest.mark.parametrize(("verdict", "outcome"), VERDICT_OUTCOMES.items())
async def test_a_visit_that_is_settled_gives_its_rollouts_one_outcome_and_refunds_the_rest(
    stores: Stores, verdict: Verdict, outcome: Outcome
) -> None:
    await stores.seed("p")
    visit = await stores.ask(await stores.claim(rollouts=8), Stage.PILOT, 3)
    await stores.settle(visit, outcome, what=verdict, reason="because")
    ledger = await stores.audit()
    assert open_money(ledger) == (0, 0)
    assert ledger.stages[Stage.PILOT].outcomes[outcome] == 3
    counters = await stores.runs.counters("run")
    assert counters[f"verdict:{verdict}"] == 1
    assert counters[f"reason:{verdict}:because"] == 1


@pytest.mark.parametrize("what", ["quarantined", "incomplete", "cancelled"])
async def test_reasons_without_a_closed_set_are_not_counted(stores: Stores, what: str) -> None:
    await stores.seed("p")
    await stores.settle(await stores.claim(), Outcome.INCOMPLETE, what=what, reason="server s1 said: 400")
    counters = await stores.runs.counters("run")
    assert counters[f"verdict:{what}"] == 1
    assert not [name for name in counters if name.startswith("reason:")]


async def test_a_lost_attempt_is_charged_in_full(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(rollouts=4), Stage.PILOT, 4)
    landing = Landing(stage=Stage.PILOT, rollouts=make_rollouts(1, tokens=2), lost=3)
    await stores.visits.land(visit, landing, held=landing.rollouts)
    ledger = await stores.audit()
    assert spent(ledger) == (4, 2 + 3 * MAX_NEW_TOKENS)
    assert open_money(ledger) == (0, 0)
    assert ledger.stages[Stage.PILOT].outcomes[Outcome.LOST] == 3


async def test_a_cancelled_attempt_is_charged_in_full(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(), Stage.PILOT, 2)
    await stores.visits.land(visit, Landing(stage=Stage.PILOT, cancelled=2), held=())
    ledger = await stores.audit()
    assert spent(ledger) == (2, 2 * MAX_NEW_TOKENS)
    assert ledger.stages[Stage.PILOT].outcomes[Outcome.CANCELLED] == 2


async def test_attempts_called_back_are_charged_what_they_generated_and_counted_by_reason(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(), Stage.PILOT, 3)
    await stores.visits.land(visit, Landing(stage=Stage.PILOT, expired=2, cut=1, recalled_tokens=7), held=())
    ledger, counters = await stores.audit(), await stores.runs.counters("run")
    assert spent(ledger) == (3, 7)
    outcomes = ledger.stages[Stage.PILOT].outcomes
    assert (outcomes[Outcome.EXPIRED], outcomes[Outcome.CANCELLED]) == (2, 1)
    assert (counters["recalled:too_stale"], counters["recalled:straggler"]) == (2, 1)


async def test_a_failed_attempt_is_charged_what_it_generated_and_never_judged(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(), Stage.PILOT, 2)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, failed=2, failed_tokens=7), held=())
    ledger = await stores.audit()
    assert spent(ledger) == (2, 7)
    assert ledger.stages[Stage.PILOT].outcomes[Outcome.FAILED] == 2
    assert (await stores.runs.counters("run")).get("pilots:judged", 0) == 0


async def test_pilots_are_counted_right_and_wrong_before_any_selection(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(rollouts=6), Stage.PILOT, 3)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=PILOTS), held=PILOTS)
    visit = await stores.visits.launch(visit, Stage.COMMIT, 2)
    await stores.visits.land(visit, Landing(stage=Stage.COMMIT, rollouts=COMMITS), held=PILOTS + COMMITS)
    counters = await stores.runs.counters("run")
    assert (counters["pilots:judged"], counters["pilots:correct"]) == (3, 1)


async def test_lost_attempts_are_made_again_on_a_reservation_of_their_own(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(rollouts=3), Stage.PILOT, 3)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, lost=3), held=())
    visit = await stores.visits.extend(visit, 3)
    assert open_money(await stores.audit()) == (3, 30)
    visit = await stores.visits.launch(visit, Stage.PILOT, 3)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=PILOTS), held=PILOTS)
    await stores.settle(visit)
    ledger = await stores.audit()
    assert ledger.stages[Stage.PILOT].attempts == 6
    assert (open_money(ledger), spent(ledger)) == ((0, 0), (6, 42))


async def test_nothing_is_launched_that_was_not_reserved(redis: Redis, stores: Stores) -> None:
    await stores.seed("p", "q")
    await stores.claim("q", rollouts=50)
    visit = await stores.claim("p", rollouts=4)
    before = await snapshot(redis)
    with pytest.raises(IllegalMove, match="4 rollouts reserved, not 5"):
        await stores.visits.launch(visit, Stage.PILOT, 5)
    assert await snapshot(redis) == before


async def test_no_more_attempts_land_than_are_in_flight(redis: Redis, stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(rollouts=4), Stage.PILOT, 2)
    before = await snapshot(redis)
    with pytest.raises(IllegalMove):
        await stores.visits.land(visit, Landing(stage=Stage.PILOT, lost=3), held=())
    assert await snapshot(redis) == before


@pytest.mark.parametrize("end", [Stores.settle, Stores.publish])
async def test_a_visit_cannot_end_with_attempts_in_flight(
    redis: Redis, stores: Stores, end: Callable[[Stores, Visit], Awaitable[object]]
) -> None:
    await stores.seed("p")
    visit = await stores.ask(await stores.claim(), Stage.PILOT, 2)
    visit = await stores.visits.launch(visit, Stage.COMMIT, 2)
    before = await snapshot(redis)
    with pytest.raises(IllegalMove, match="in flight"):
        await end(stores, visit)
    assert await snapshot(redis) == before


@pytest.mark.parametrize(("pilots", "commits"), [(1, 0), (3, 0), (2, 1)])
async def test_a_group_is_exactly_what_its_visit_holds(redis: Redis, stores: Stores, pilots: int, commits: int) -> None:
    await stores.seed("p")
    visit = await stores.ask(await stores.claim(), Stage.PILOT, 2)
    before = await snapshot(redis)
    with pytest.raises(IllegalMove, match="its visit holds"):
        await stores.publish(visit, pilots=pilots, commits=commits)
    assert await snapshot(redis) == before


async def test_a_visit_cannot_end_as_claimed(redis: Redis, stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.claim()
    before = await snapshot(redis)
    with pytest.raises(IllegalMove, match="from claimed to claimed"):
        await stores.settle(visit, state=PromptState.CLAIMED)
    assert await snapshot(redis) == before


@pytest.mark.parametrize("end", [Stores.settle, Stores.publish])
async def test_a_visit_ends_once(
    redis: Redis, stores: Stores, end: Callable[[Stores, Visit], Awaitable[object]]
) -> None:
    await stores.seed("p")
    visit = await stores.ask(await stores.claim(), Stage.PILOT, 2)
    await end(stores, visit)
    before = await snapshot(redis)
    for again in (Stores.settle, Stores.publish):
        with pytest.raises(Conflict, match="ended already"):
            await again(stores, visit)
    with pytest.raises(Conflict):
        await stores.visits.launch(visit, Stage.PILOT, 1)
    with pytest.raises(Conflict):
        await stores.visits.extend(visit, 1)
    assert await snapshot(redis) == before


async def test_a_step_on_a_visit_that_has_gone_on_is_refused(redis: Redis, stores: Stores) -> None:
    # A cancelled coroutine's launch can arrive after whoever cleans up has read the visit.
    await stores.seed("p")
    read = await stores.claim()
    await stores.visits.launch(read, Stage.PILOT, 2)
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="gone on"):
        await stores.settle(read, Outcome.CANCELLED, what="cancelled")
    with pytest.raises(Conflict, match="gone on"):
        await stores.visits.launch(read, Stage.PILOT, 2)
    assert await snapshot(redis) == before


async def test_a_prompt_is_claimed_by_one_visit_at_a_time(redis: Redis, stores: Stores) -> None:
    await stores.seed("p")
    visits = [Visit(visit_id=f"v{index}", prompt_id="p", fence=1, reserved=4) for index in range(20)]
    answers = await asyncio.gather(*(stores.visits.claim([visit]) for visit in visits))
    assert sum(len(answer.visits) for answer in answers) == 1
    assert sum(len(answer.refused) for answer in answers) == 19
    assert open_money(await stores.audit()) == (4, 40)


async def test_prompts_claimed_together_are_claimed_in_order_without_those_that_are_not_claimable(
    stores: Stores,
) -> None:
    await stores.seed("a", "b", "c")
    await stores.claim("b")
    claimed = await stores.visits.claim([stores.new_visit(name) for name in ("c", "b", "a", "new")])
    assert [visit.prompt_id for visit in claimed.visits] == ["c", "a"]
    assert [visit.prompt_id for visit in claimed.refused] == ["b", "new"]
    assert not claimed.is_out_of_budget
    assert open_money(await stores.audit()) == (12, 120)


async def test_more_prompts_than_one_transaction_takes_are_all_claimed(stores: Stores) -> None:
    names = [f"p{index}" for index in range(2100)]
    await stores.seed(*names)
    claimed = await stores.visits.claim([stores.new_visit(name) for name in names])
    assert [visit.prompt_id for visit in claimed.visits] == names
    await stores.audit()


async def test_a_prompt_that_is_not_claimable_is_refused_and_nothing_reserved(redis: Redis, stores: Stores) -> None:
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="prompt p is not claimable"):
        await stores.claim("p")
    assert await snapshot(redis) == before


async def test_a_claim_whose_answer_was_lost_is_made_once(redis: Redis, redis_url: str) -> None:
    async with lossy_link(redis_url) as (link, url):
        distant = connect(url)
        stores = await Stores.open(distant)
        await stores.seed("p", "q")
        await stores.claim("p")
        link.lose_next_answer()
        visit = await stores.claim("q", rollouts=4)
        link.lose_next_answer()
        await stores.visits.launch(visit, Stage.PILOT, 2)
        ledger = await stores.audit()
        await distant.aclose()
    assert link.lost == 2
    assert (open_money(ledger), spent(ledger)) == ((6, 80), (2, 0))


async def test_a_successor_resumes_with_the_rollouts_that_were_held_and_loses_what_was_in_flight(
    stores: Stores,
) -> None:
    await stores.seed("p")
    visit = await stores.ask(await stores.claim(rollouts=6), Stage.PILOT, 2)
    visit = await stores.visits.launch(visit, Stage.PILOT, 1)
    visit = await stores.visits.launch(visit, Stage.COMMIT, 2)
    successor = await stores.succeeded_by()
    [(found, held)] = await successor.visits.open_visits()
    assert (found, held) == (visit, make_rollouts(2))
    resumed = await successor.visits.resume(found, fence=successor.lease.fence)
    ledger = await successor.audit()
    assert (resumed.fence, resumed.reserved, resumed.held) == (
        successor.lease.fence,
        1,
        {Stage.PILOT: 2, Stage.COMMIT: 0},
    )
    assert ledger.stages[Stage.PILOT].outcomes[Outcome.LOST] == 1
    assert ledger.stages[Stage.COMMIT].outcomes[Outcome.LOST] == 2
    assert spent(ledger) == (5, 2 * 2 + 3 * MAX_NEW_TOKENS)
    [(_, still_held)] = await successor.visits.open_visits()
    assert still_held == make_rollouts(2)
    resumed = await successor.visits.extend(resumed, 1)
    resumed = await successor.ask(resumed, Stage.COMMIT, 2, held=still_held)
    await successor.publish(resumed)
    ledger = await successor.audit()
    assert open_money(ledger) == (0, 0)


async def test_resuming_twice_loses_what_was_in_flight_once(stores: Stores) -> None:
    await stores.seed("p")
    await stores.visits.launch(await stores.claim(), Stage.PILOT, 3)
    for holder in ("second", "third"):
        stores = await stores.succeeded_by(holder)
        [(visit, _)] = await stores.visits.open_visits()
        await stores.visits.resume(visit, fence=stores.lease.fence)
        ledger = await stores.audit()
        assert ledger.stages[Stage.PILOT].outcomes[Outcome.LOST] == 3


async def test_an_ended_visit_leaves_neither_record_nor_rollouts(redis: Redis, stores: Stores) -> None:
    await stores.seed("p", "q")
    await stores.settle(await stores.ask(await stores.claim("p"), Stage.PILOT, 2))
    await stores.publish(await stores.ask(await stores.claim("q"), Stage.PILOT, 2))
    assert not await redis.exists(stores.keys.visits, stores.keys.rollouts)


async def test_a_published_prompt_can_be_claimed_again_with_its_new_row(stores: Stores) -> None:
    await stores.seed("p")
    await stores.publish(await stores.ask(await stores.claim(), Stage.PILOT, 2))
    view = await stores.table.view("p")
    assert (view.state, view.row) == (PromptState.READY, make_row())
    assert [event.what for event in view.history] == ["published"]
    await stores.claim()


def test_a_landing_counts_every_attempt_whatever_became_of_it() -> None:
    landing = Landing(stage=Stage.PILOT, rollouts=PILOTS, failed=2, lost=4, cancelled=1)
    assert landing.count == 10
    assert replace(landing, rollouts=()).count == 7


async def test_a_prompt_is_looked_at_first_by_the_visit_that_is_judged_whatever_came_before(stores: Stores) -> None:
    await stores.seed("p")
    looks = [("interrupted", 2, None), ("skip", 3, None), ("defer", 3, Verdict.SKIP)]
    for visits, (what, pilots, last_verdict) in enumerate(looks, start=1):
        visit = await stores.ask(await stores.claim(rollouts=4), Stage.PILOT, pilots)
        await stores.visits.settle(
            visit,
            Outcome.SKIPPED,
            row=make_row(visits=visits),
            state=PromptState.READY,
            event=replace(make_event(what), pilots=pilots, correct=1),
            trace=Trace(last_verdict=last_verdict),
        )
    counters = await stores.runs.counters("run")
    assert (first_visits(counters), first_verdicts(counters)) == ({(1, 2): 1}, {(1, 3): 1})
    assert counters[VISITED] == 1
