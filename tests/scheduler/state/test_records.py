"""Records of visits: what became of every attempt, for as long as they are kept."""

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.types import Stage
from scheduler.state.records import Attempt, RecordStore, closed
from scheduler.state.visit import Landing, Trace
from tests.scheduler.state.stores import Stores, make_event, make_rollouts, make_row, make_weights

SENT = tuple(Attempt(rid=f"v-1-{number}", stage=Stage.PILOT) for number in range(2))


@pytest_asyncio.fixture
async def stores(redis: Redis) -> Stores:
    opened = await Stores.open(redis)
    await opened.seed("p", "q", "r")
    return opened


@pytest.fixture
def records(stores: Stores) -> RecordStore:
    return RecordStore(stores.redis, stores.keys)


async def test_an_attempt_is_on_record_from_the_moment_it_is_sent(stores: Stores, records: RecordStore) -> None:
    await stores.visits.launch(await stores.claim("p"), Stage.PILOT, 2, SENT)
    found = await records.get("visit-p")
    assert found is not None
    assert (found.record.prompt_id, found.record.attempts, found.record.ending) == ("p", SENT, None)
    assert await records.get("visit-q") is None


async def test_attempts_that_came_back_say_from_where_and_with_what(stores: Stores, records: RecordStore) -> None:
    visit = await stores.visits.launch(await stores.claim("p"), Stage.PILOT, 2, SENT)
    (rollout,) = make_rollouts(1, version=3)
    came = (
        Attempt.rewarded(rollout, "http://one"),
        Attempt.fruitless("v-1-1", Stage.PILOT, Outcome.LOST, "http://two", "gone"),
    )
    landing = Landing(stage=Stage.PILOT, rollouts=(rollout,), lost=1)
    await stores.visits.land(visit, landing, held=(rollout,), attempts=came)
    found = await records.get("visit-p")
    assert found is not None
    held, lost = found.record.attempts
    assert (held.status, held.server, held.oldest_version, held.tokens) == (OpenState.HELD, "http://one", 3, 2)
    assert (lost.status, lost.server, lost.reason, lost.reward) == (Outcome.LOST, "http://two", "gone", None)


async def test_what_a_dead_scheduler_had_in_flight_is_on_record_as_lost(stores: Stores, records: RecordStore) -> None:
    await stores.visits.launch(await stores.claim("p"), Stage.PILOT, 2, SENT)
    successor = await stores.succeeded_by()
    [(visit, _)] = await successor.visits.open_visits()
    await successor.visits.resume(visit, fence=successor.lease.fence)
    attempts = await successor.visits.attempts("visit-p")
    assert [(attempt.rid, attempt.status) for attempt in attempts] == [("v-1-0", "lost"), ("v-1-1", "lost")]
    assert "went away" in attempts[0].reason


async def test_a_settled_visit_says_how_it_ended(stores: Stores, records: RecordStore) -> None:
    visit = await stores.ask(await stores.claim("p"), Stage.PILOT, 2)
    await stores.settle(visit, what="skip", reason="too_easy")
    found = await records.get("visit-p")
    assert found is not None
    assert found.record.ending is not None
    ending = found.record.ending
    assert (ending.what, ending.reason, ending.outcome) == ("skip", "too_easy", Outcome.SKIPPED)
    assert (await stores.table.view("p")).history[0].visit_id == "visit-p"


async def test_the_record_of_a_group_says_what_became_of_it(stores: Stores, records: RecordStore) -> None:
    await stores.attach()
    await stores.versions.announce(make_weights(1))
    entry = await stores.make_group("p")
    (batched,) = await stores.groups.form_batch(1, [entry])
    weights = make_weights(2, step=1)
    stepped = await stores.groups.applied([batched], {}, incarnation="learner", step=1, weights=weights, now=3.0)
    await stores.groups.checkpointed(stepped, incarnation="learner", step=1, now=4.0)
    # The stores' short cut names a group otherwise than its visit, which the engine never does.
    assert await stores.redis.hexists(stores.keys.group_endings, entry.group_id)
    assert await stores.redis.zscore(stores.keys.recorded, entry.group_id) == 4.0


async def test_the_oldest_records_are_forgotten_with_all_that_belongs_to_them(stores: Stores) -> None:
    kept = RecordStore(stores.redis, stores.keys, kept=1)
    for at, name in enumerate(("p", "q", "r")):
        visit = await stores.ask(await stores.claim(name), Stage.PILOT, 1)
        event = make_event(at=float(at))
        trace = Trace(attempts=SENT)
        state = (await stores.table.view("nowhere")).state
        await stores.visits.settle(visit, Outcome.SKIPPED, row=make_row(), state=state, event=event, trace=trace)
    assert await kept.trim(stores.transactor) == 2
    assert set(await kept.many(["visit-p", "visit-q", "visit-r"])) == {"visit-r"}
    assert await kept.trim(stores.transactor) == 0
    assert await stores.redis.hlen(stores.keys.records) == await stores.redis.zcard(stores.keys.recorded) == 1


async def test_the_record_of_an_open_visit_is_never_forgotten(stores: Stores) -> None:
    await stores.visits.launch(await stores.claim("p"), Stage.PILOT, 2, SENT)
    kept = RecordStore(stores.redis, stores.keys, kept=0)
    assert await kept.trim(stores.transactor) == 0
    assert await kept.get("visit-p") is not None


def test_only_what_was_in_flight_is_closed() -> None:
    held = Attempt(rid="a", stage=Stage.PILOT, status=OpenState.HELD, reward=1.0)
    first, second = closed([held, SENT[0]], Outcome.CANCELLED, "enough")
    assert first == held
    assert (second.status, second.reason) == (Outcome.CANCELLED, "enough")
