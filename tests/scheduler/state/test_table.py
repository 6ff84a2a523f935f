"""The informativeness table: when prompts return, in which order, and with which history."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.core.errors import Conflict
from scheduler.core.informativeness import Evidence
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.prior import Prior
from scheduler.core.types import Stage, Verdict
from scheduler.state.connection import connect
from scheduler.state.row import Row
from scheduler.state.table import HISTORY_LENGTH, Table, claim_order
from scheduler.state.transaction import Transactor
from tests.scheduler.state.lossy_link import lossy_link
from tests.scheduler.state.stores import Stores, make_event, make_rollouts, make_row, snapshot

NAMES = tuple(f"p{index}" for index in range(20))


async def defer(stores: Stores, prompt_id: str, *, until: int | None, visits: int = 1) -> None:
    """A visit that ends with the prompt waiting for a weight version, or for ever."""
    what = "evict" if until is None else "defer"
    row = make_row(visits=visits, next_version=until)
    await stores.settle(await stores.claim(prompt_id), what=what, state=PromptState.WAITING, row=row)


async def quarantine(stores: Stores, prompt_id: str) -> None:
    """A visit that ends with the prompt never to be claimed again."""
    await stores.settle(
        await stores.claim(prompt_id),
        Outcome.INCOMPLETE,
        what="quarantined",
        state=PromptState.QUARANTINED,
        row=make_row(next_version=None, lost_visits=3),
    )


async def claim_round(stores: Stores, visits: int) -> list[str]:
    """Claim and settle until every prompt had this visit; the prompts in the order they came."""
    order = []
    for _ in NAMES:
        [prompt_id] = await stores.table.sample(1)
        await stores.settle(await stores.claim(prompt_id), row=make_row(visits=visits))
        order.append(prompt_id)
    return order


async def test_every_prompt_is_claimed_once_a_round_in_an_order_that_is_shuffled_anew(stores: Stores) -> None:
    await stores.seed(*NAMES)
    rounds = [await claim_round(stores, visits) for visits in (1, 2, 3)]
    assert all(sorted(order) == sorted(NAMES) for order in rounds)
    assert len({tuple(order) for order in rounds}) == 3


async def test_the_seed_fixes_the_order_of_prompts(redis: Redis) -> None:
    orders = []
    for run_id, seed in (("first", 1), ("second", 1), ("third", 2)):
        stores = await Stores.open(redis, run_id, seed=seed)
        await stores.seed(*(NAMES if run_id == "first" else NAMES[::-1]))
        orders.append(await stores.table.sample(100))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(NAMES)


@given(st.text(), st.text(), st.integers(0, 1000), st.integers(0, 2**31))
def test_a_prompt_that_was_visited_less_often_always_comes_first(one: str, other: str, visits: int, seed: int) -> None:
    assert claim_order(one, visits, seed) < claim_order(other, visits + 1, seed)


async def test_a_sample_is_bounded_and_the_first_in_order(stores: Stores) -> None:
    await stores.seed(*NAMES)
    everything = await stores.table.sample(1000)
    assert await stores.table.sample(7) == everything[:7]


async def test_seeding_again_moves_no_prompt_that_is_still_to_be_claimed(redis: Redis, stores: Stores) -> None:
    await stores.seed(*NAMES)
    await stores.settle(await stores.claim(NAMES[0]), row=make_row(visits=4))
    before = await redis.zrange(stores.keys.ready, 0, -1, withscores=True)
    await stores.table.seed_prompts(stores.transactor, NAMES, 20)
    assert await redis.zrange(stores.keys.ready, 0, -1, withscores=True) == before
    assert await redis.hget(stores.keys.meta, "pool_sequence") == b"20"


async def test_rows_are_read_as_they_were_placed_and_missing_where_there_was_no_visit(stores: Stores) -> None:
    await stores.seed("p", "q")
    evidence = Evidence.fresh(Prior(), version=3).observed(make_rollouts(5), version=3, prior=Prior(), discount=0.9)
    row = Row(evidence=evidence.judged(Verdict.DEFER, "too_hard"), next_version=9, lost_visits=2)
    await stores.settle(await stores.claim("p"), state=PromptState.WAITING, what="defer", row=row)
    assert await stores.table.rows(["q", "p"]) == {"p": row}
    assert await stores.table.rows([]) == {}


async def test_a_deferred_prompt_returns_at_its_weight_version_and_not_before(stores: Stores) -> None:
    await stores.seed("p")
    await defer(stores, "p", until=5)
    assert await stores.table.next_return() == 5
    assert await stores.table.return_due(stores.transactor, 4) == []
    assert (await stores.table.view("p")).state is PromptState.WAITING
    assert await stores.table.return_due(stores.transactor, 5) == ["p"]
    assert (await stores.table.view("p")).state is PromptState.READY
    assert await stores.table.next_return() is None
    await stores.claim("p")


async def test_a_prompt_that_returns_keeps_its_place_behind_those_visited_less_often(stores: Stores) -> None:
    await stores.seed(*NAMES)
    await defer(stores, NAMES[0], until=1)
    await stores.table.return_due(stores.transactor, 1)
    assert (await stores.table.sample(100))[-1] == NAMES[0]


async def test_a_prompt_that_is_evicted_for_ever_returns_at_no_version(stores: Stores) -> None:
    await stores.seed("p")
    await defer(stores, "p", until=None)
    assert await stores.table.next_return() is None
    assert await stores.table.return_due(stores.transactor, 10**9) == []
    assert await stores.table.return_earliest(stores.transactor, 10) == []
    assert (await stores.table.view("p")).state is PromptState.WAITING


async def test_only_so_many_prompts_return_at_once_and_the_rest_the_next_time(stores: Stores) -> None:
    await stores.seed(*NAMES)
    for name in NAMES:
        await defer(stores, name, until=2)
    returned = [await stores.table.return_due(stores.transactor, 2, limit=8) for _ in range(4)]
    assert [len(page) for page in returned] == [8, 8, 4, 0]
    assert len(await stores.table.sample(100)) == len(NAMES)


async def test_with_nothing_else_to_claim_those_that_wait_least_return_before_their_time(stores: Stores) -> None:
    await stores.seed("near", "far", "never")
    await defer(stores, "far", until=50)
    await defer(stores, "near", until=20)
    await defer(stores, "never", until=None)
    assert await stores.table.return_earliest(stores.transactor, 1) == ["near"]
    assert await stores.table.sample(10) == ["near"]
    assert await stores.table.next_return() == 50


@pytest.mark.parametrize("state", [PromptState.WAITING, PromptState.QUARANTINED])
async def test_an_operator_reinstates_a_prompt_with_a_fresh_start(stores: Stores, state: PromptState) -> None:
    await stores.seed("p")
    if state is PromptState.WAITING:
        await defer(stores, "p", until=None)
    else:
        await quarantine(stores, "p")
    assert (await stores.table.view("p")).state is state
    await stores.table.reinstate(stores.transactor, "p", now=7.0, version=3)
    view = await stores.table.view("p")
    assert view.state is PromptState.READY
    assert view.row is not None
    assert (view.row.lost_visits, view.row.next_version, view.row.evidence.visits) == (0, 0, 1)
    assert (view.history[0].what, view.history[0].at, view.history[0].version) == ("reinstated", 7.0, 3)
    await stores.claim("p")


async def test_a_prompt_that_waits_without_a_row_can_be_reinstated(redis: Redis, stores: Stores) -> None:
    await redis.zadd(stores.keys.waiting, {"p": 3})
    await stores.table.reinstate(stores.transactor, "p", now=7.0, version=3)
    view = await stores.table.view("p")
    assert (view.state, view.row) == (PromptState.READY, None)


@pytest.mark.parametrize("claimed", [True, False])
async def test_only_a_waiting_or_quarantined_prompt_can_be_reinstated(
    redis: Redis, stores: Stores, claimed: bool
) -> None:
    await stores.seed("p")
    if claimed:
        await stores.claim("p")
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="only a waiting or quarantined one"):
        await stores.table.reinstate(stores.transactor, "p", now=7.0, version=3)
    assert await snapshot(redis) == before


async def test_a_prompt_that_was_claimed_while_an_operator_looked_at_it_is_not_reinstated(
    stores: Stores, redis_url: str
) -> None:
    await stores.seed("p")
    await defer(stores, "p", until=1)
    async with lossy_link(redis_url) as (link, url):
        distant = connect(url)
        await distant.ping()
        table, transactor = Table(distant, stores.keys, seed=0), Transactor(distant, stores.keys, stores.lease.fence)
        link.hold_next_answer()
        operator = asyncio.create_task(table.reinstate(transactor, "p", now=1.0, version=1))
        await link.holding.wait()
        await stores.table.return_due(stores.transactor, 1)
        await stores.claim("p")
        link.pass_on()
        with pytest.raises(Conflict, match="no longer waiting"):
            await operator
        await distant.aclose()
    assert await stores.places() == {"p": 1}


async def test_a_quarantined_prompt_is_neither_claimed_nor_returned(stores: Stores) -> None:
    await stores.seed("p")
    await quarantine(stores, "p")
    await stores.table.return_due(stores.transactor, 10**9)
    await stores.table.return_earliest(stores.transactor, 10)
    assert await stores.table.sample(10) == []
    with pytest.raises(Conflict):
        await stores.claim("p")


async def test_prompts_are_counted_by_state(stores: Stores) -> None:
    await stores.seed("ready", "claimed", "deferred", "evicted", "bad")
    await stores.claim("claimed")
    await defer(stores, "deferred", until=5)
    await defer(stores, "evicted", until=None)
    await quarantine(stores, "bad")
    assert await stores.table.sizes() == {
        PromptState.READY: 1,
        PromptState.CLAIMED: 1,
        PromptState.WAITING: 2,
        PromptState.QUARANTINED: 1,
    }


async def test_a_history_keeps_the_newest_entries_first_and_forgets_the_oldest(stores: Stores) -> None:
    assert HISTORY_LENGTH == 50
    for number in range(53):
        transaction = stores.transactor.begin()
        stores.table.remember(transaction, "p", make_event(at=float(number)))
        await stores.transactor.apply(transaction)
    history = (await stores.table.view("p")).history
    assert [event.at for event in history] == [float(number) for number in range(52, 2, -1)]


async def test_an_event_is_read_as_it_was_remembered(stores: Stores) -> None:
    event = replace(make_event("trained", at=1763934171.25), pilots=8, correct=3, group_id="g", step=4)
    transaction = stores.transactor.begin()
    stores.table.remember(transaction, "p", event)
    await stores.transactor.apply(transaction)
    assert (await stores.table.view("p")).history == (event,)


async def test_a_claimed_prompt_is_seen_as_claimed(stores: Stores) -> None:
    await stores.seed("p")
    await stores.claim("p")
    view = await stores.table.view("p")
    assert (view.prompt_id, view.state, view.row, view.history) == ("p", PromptState.CLAIMED, None, ())


async def test_a_prompt_passed_over_by_history_comes_again_at_its_next_turn(stores: Stores) -> None:
    await stores.seed("p", "q")
    event = make_event("passed_over", reason="too_easy")
    await stores.pass_over("p", row=make_row(visits=1), event=event)
    assert await stores.table.sample(10) == ["q", "p"]
    view = await stores.table.view("p")
    assert (view.row, view.history) == (make_row(visits=1), (event,))
    counters = await stores.runs.counters("run")
    assert (counters["considered"], counters["passed_over:skip"]) == (1, 1)
    await stores.audit()


async def test_more_prompts_than_a_command_takes_operands_are_passed_over_or_none(stores: Stores) -> None:
    names = [f"p{index}" for index in range(9000)]
    await stores.seed(*names)
    with pytest.raises(Conflict, match="prompt late is not claimable"):
        await stores.pass_over(*names, "late")
    await stores.pass_over(*names)
    assert (await stores.runs.counters("run"))["passed_over:skip"] == 9000


async def test_a_prompt_that_was_claimed_meanwhile_is_not_passed_over(redis: Redis, stores: Stores) -> None:
    await stores.seed("p", "q")
    await stores.claim("p")
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="prompt p is not claimable"):
        await stores.pass_over("q", "p")
    assert await snapshot(redis) == before


async def test_evidence_is_kept_while_a_prompt_is_visited_again(stores: Stores) -> None:
    await stores.seed("p")
    await stores.settle(await stores.ask(await stores.claim("p"), Stage.PILOT, 2), row=make_row(visits=1))
    await stores.claim("p")
    assert await stores.table.rows(["p"]) == {"p": make_row(visits=1)}
