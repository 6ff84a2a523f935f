"""Weight versions: given out once, in order, and never lower."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from scheduler.core.errors import Conflict
from scheduler.state.versions import WeightState, recent_versions
from tests.scheduler.state.stores import Stores, make_config, make_weights, snapshot


async def test_versions_are_given_out_one_after_the_other(stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    for version in (1, 2, 3):
        await stores.versions.announce(make_weights(version))
        assert (await stores.runs.get("run")).version == version
    assert await stores.versions.get(2) == make_weights(2)


@pytest.mark.parametrize("version", [0, 1, 2, 4])
async def test_a_version_that_is_not_the_next_one_is_refused(redis: Redis, stores: Stores, version: int) -> None:
    for known in (1, 2):
        await stores.versions.announce(make_weights(known))
    before = await snapshot(redis)
    with pytest.raises(Conflict, match=f"weight version {version} is not the next one"):
        await stores.versions.announce(replace(make_weights(version), path="/weights/other"))
    assert await snapshot(redis) == before


@pytest.mark.parametrize("version", [0, 2])
async def test_the_first_version_is_one(stores: Stores, version: int) -> None:
    with pytest.raises(Conflict):
        await stores.versions.announce(make_weights(version))


async def test_restored_weights_get_a_version_of_their_own(stores: Stores) -> None:
    await stores.versions.announce(make_weights(1, step=5))
    await stores.versions.announce(replace(make_weights(2, step=5), path="/weights/1"))
    newest, older = await recent_versions(stores.redis, stores.keys, count=2)
    assert (newest.version, older.version) == (2, 1)
    assert (newest.path, newest.step) == (older.path, older.step)


async def test_of_versions_announced_at_once_one_is_taken(stores: Stores) -> None:
    answers = await asyncio.gather(
        *(stores.versions.announce(replace(make_weights(1), path=f"/weights/{index}")) for index in range(10)),
        return_exceptions=True,
    )
    assert answers.count(None) == 1
    assert all(isinstance(answer, Conflict) for answer in answers if answer is not None)


async def test_a_live_version_is_told_apart_from_an_announced_one(stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    await stores.versions.announce(make_weights(1))
    await stores.versions.update(replace(make_weights(1), state=WeightState.PUSHING))
    assert (await stores.runs.get("run")).live_version == 0
    live = replace(make_weights(1), state=WeightState.LIVE, checksum="c", live_at=2.5, push_s=0.5)
    await stores.versions.update(live, live=True)
    record = await stores.runs.get("run")
    assert (record.version, record.live_version) == (1, 1)
    assert await stores.versions.get(1) == live


async def test_a_superseded_version_keeps_its_record(stores: Stores) -> None:
    await stores.versions.announce(make_weights(1))
    await stores.versions.supersede(make_weights(1))
    assert await stores.versions.get(1) == replace(make_weights(1), state=WeightState.SUPERSEDED)


async def test_a_version_that_was_never_given_out_has_no_record(stores: Stores) -> None:
    assert await stores.versions.get(1) is None
    assert await recent_versions(stores.redis, stores.keys, count=5) == []


@pytest.mark.parametrize(("count", "expected"), [(0, []), (2, [4, 3]), (9, [4, 3, 2, 1])])
async def test_the_newest_versions_come_first(stores: Stores, count: int, expected: list[int]) -> None:
    for version in (1, 2, 3, 4):
        await stores.versions.announce(make_weights(version))
    found = await recent_versions(stores.redis, stores.keys, count=count)
    assert [record.version for record in found] == expected


@pytest.mark.parametrize(("before", "expected"), [(1, []), (3, [2, 1]), (4, [3, 2]), (9, [4, 3])])
async def test_a_page_goes_on_before_the_oldest_version_of_the_last(
    stores: Stores, before: int, expected: list[int]
) -> None:
    for version in (1, 2, 3, 4):
        await stores.versions.announce(make_weights(version))
    found = await recent_versions(stores.redis, stores.keys, count=2, before=before)
    assert [record.version for record in found] == expected


async def test_what_was_spent_is_what_the_ledger_says(stores: Stores) -> None:
    assert (await stores.versions.account()).rollouts == 0
    await stores.make_group("p")
    ledger = await stores.audit()
    account = await stores.versions.account()
    assert (account.rollouts, account.tokens) == (ledger.spent_rollouts, ledger.spent_tokens)
    assert ledger.spent_rollouts > 0


async def test_a_version_keeps_its_spend_and_its_stats_whatever_becomes_of_it(stores: Stores) -> None:
    record = replace(make_weights(1), spent_rollouts=32, spent_tokens=99, stats={"loss": 0.5})
    await stores.versions.announce(record)
    await stores.versions.supersede(record)
    assert await stores.versions.get(1) == replace(record, state=WeightState.SUPERSEDED)
