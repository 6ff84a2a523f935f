"""Groups on their way through the learner: trained means saved, and nothing is counted twice."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, IllegalMove, StaleIncarnation
from scheduler.core.ledger import LEGAL_MOVES, OpenState, Outcome
from scheduler.core.packed import unpack
from scheduler.core.types import Group, Stage
from scheduler.state.groups import GroupEntry, GroupStatus
from tests.scheduler.state.learner import LEARNER, attach, outcomes, step_on, three_groups
from tests.scheduler.state.stores import Stores, make_config, make_rollouts, make_weights, snapshot


async def test_a_published_group_is_read_as_it_was_published(stores: Stores) -> None:
    entry = await stores.make_group("a", version=4)
    assert await stores.groups.entries() == [entry]
    packed = await stores.groups.packed(entry.group_id)
    assert packed is not None
    group = unpack(packed, Group)
    assert (group.group_id, group.prompt_id, group.prompt_ids) == (entry.group_id, "a", (1, 2))
    assert group.rollouts == make_rollouts(2, version=4) + make_rollouts(2, stage=Stage.COMMIT, version=4)
    assert entry.oldest_version == 4


async def test_groups_are_listed_in_order_of_publication(stores: Stores) -> None:
    for name in ("z", "a", "m"):
        await stores.make_group(name)
    assert [entry.prompt_id for entry in await stores.groups.entries()] == ["z", "a", "m"]


async def test_a_group_goes_from_its_batch_to_a_saved_step_with_the_ledger_balanced_throughout(stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    first, second, third = await three_groups(stores)
    batch = await stores.groups.form_batch(1, [first, second])
    assert await stores.groups.entries() == [replace(first, step=1), replace(second, step=1), third]
    await stores.audit()
    stepped = await stores.groups.applied(
        batch, {second.group_id: 3}, incarnation=LEARNER, step=1, weights=make_weights(1, step=1), now=2.0
    )
    assert stepped == [replace(first, step=1, status=GroupStatus.APPLIED)]
    assert await stores.groups.entries() == [*stepped, third]
    assert await outcomes(stores) == {Outcome.EXPIRED: 4}
    record = await stores.runs.get("run")
    assert (record.step, record.checkpointed_step, record.version) == (1, 0, 1)
    assert await stores.versions.get(1) == make_weights(1, step=1)
    await stores.groups.checkpointed(stepped, incarnation=LEARNER, step=1, now=3.0)
    assert await stores.groups.entries() == [third]
    assert await outcomes(stores) == {Outcome.EXPIRED: 4, Outcome.TRAINED: 4}
    assert (await stores.runs.get("run")).checkpointed_step == 1
    assert (await stores.runs.counters("run"))["groups:trained"] == 1


async def test_a_payload_is_kept_until_the_step_that_trained_it_is_saved(stores: Stores) -> None:
    first, *_ = await three_groups(stores)
    stepped = await step_on(stores, [first], step=1)
    assert await stores.groups.packed(first.group_id)
    await stores.groups.checkpointed(stepped, incarnation=LEARNER, step=1, now=3.0)
    assert await stores.groups.packed(first.group_id) is None


async def test_what_became_of_a_group_stands_in_the_history_of_its_prompt(stores: Stores) -> None:
    first, second, third = await three_groups(stores)
    stepped = await step_on(stores, [first, second], step=1, refused=(second.group_id,))
    await stores.groups.checkpointed(stepped, incarnation=LEARNER, step=1, now=3.0)
    await stores.groups.drop([third], Outcome.SURPLUS, now=4.0, version=1)
    newest = {name: (await stores.table.view(name)).history[0] for name in ("a", "b", "c")}
    assert {name: event.what for name, event in newest.items()} == {"a": "trained", "b": "expired", "c": "surplus"}
    assert newest["b"].reason == "refused by the learner: 3 versions stale"
    assert (newest["a"].group_id, newest["a"].step) == (first.group_id, 1)


async def test_a_group_is_in_at_most_one_batch(redis: Redis, stores: Stores) -> None:
    first, second, _ = await three_groups(stores)
    await stores.groups.form_batch(1, [first])
    before = await snapshot(redis)
    with pytest.raises(Conflict, match=f"{first.group_id} has ended already, or gone on"):
        await stores.groups.form_batch(2, [second, first])
    assert await snapshot(redis) == before


@pytest.mark.parametrize("outcome", sorted(LEGAL_MOVES[OpenState.PUBLISHED] & set(Outcome)))
async def test_a_group_that_no_batch_took_ends_untrained(stores: Stores, outcome: Outcome) -> None:
    first, *rest = await three_groups(stores)
    await stores.groups.drop([first], outcome, now=2.0, version=1)
    assert await outcomes(stores) == {outcome: 4}
    assert await stores.groups.entries() == rest


async def test_an_applied_group_cannot_expire(redis: Redis, stores: Stores) -> None:
    first, *_ = await three_groups(stores)
    stepped = await step_on(stores, [first], step=1)
    before = await snapshot(redis)
    with pytest.raises(IllegalMove):
        await stores.groups.drop(stepped, Outcome.EXPIRED, now=2.0, version=1)
    assert await snapshot(redis) == before


async def test_an_applied_group_whose_learner_never_saved_it_is_rolled_back(stores: Stores) -> None:
    first, *_ = await three_groups(stores)
    await stores.groups.drop(await step_on(stores, [first], step=1), Outcome.ROLLED_BACK, now=2.0, version=1)
    assert await outcomes(stores) == {Outcome.ROLLED_BACK: 4}


REPORTS: dict[str, Callable[[Stores, list[GroupEntry], str], Awaitable[object]]] = {
    "applied": lambda s, entries, incarnation: s.groups.applied(
        entries, {}, incarnation=incarnation, step=1, weights=make_weights(1, step=1), now=2.0
    ),
    "checkpointed": lambda s, entries, incarnation: s.groups.checkpointed(
        entries, incarnation=incarnation, step=1, now=2.0
    ),
}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("incarnation", [LEARNER, "never heard of", ""])
async def test_a_report_of_a_replaced_learner_is_refused_and_changes_nothing(
    redis: Redis,
    stores: Stores,
    report: Callable[[Stores, list[GroupEntry], str], Awaitable[object]],
    incarnation: str,
) -> None:
    entries = await three_groups(stores)
    kept = await attach(stores, entries)
    before = await snapshot(redis)
    with pytest.raises(StaleIncarnation, match="replaced by a newer one"):
        await report(stores, kept, incarnation)
    assert await snapshot(redis) == before


async def test_a_step_reported_twice_is_applied_once(redis: Redis, stores: Stores) -> None:
    first, *_ = await three_groups(stores)
    batch = await stores.groups.form_batch(1, [first])
    report = {"incarnation": LEARNER, "step": 1, "weights": make_weights(1, step=1), "now": 2.0}
    await stores.groups.applied(batch, {}, **report)  # type: ignore[arg-type]  # the report's own fields
    before = await snapshot(redis)
    with pytest.raises(Conflict):
        await stores.groups.applied(batch, {}, **report)  # type: ignore[arg-type]  # the report's own fields
    assert await snapshot(redis) == before


async def test_a_step_whose_weights_are_not_the_next_version_is_not_applied(redis: Redis, stores: Stores) -> None:
    first, *_ = await three_groups(stores)
    batch = await stores.groups.form_batch(1, [first])
    before = await snapshot(redis)
    with pytest.raises(Conflict, match="weight version 2"):
        await stores.groups.applied(batch, {}, incarnation=LEARNER, step=1, weights=make_weights(2, step=1), now=2.0)
    assert await snapshot(redis) == before


async def test_a_checkpoint_reported_twice_trains_its_groups_once(redis: Redis, stores: Stores) -> None:
    first, second, _ = await three_groups(stores)
    stepped = await step_on(stores, [first], step=1)
    # Another applied group keeps every counter above zero: it must not stand in for the one that is gone.
    await step_on(stores, [second], step=2)
    await stores.groups.checkpointed(stepped, incarnation=LEARNER, step=1, now=3.0)
    before = await snapshot(redis)
    with pytest.raises(Conflict):
        await stores.groups.checkpointed(stepped, incarnation=LEARNER, step=1, now=3.0)
    assert await snapshot(redis) == before
    assert await outcomes(stores) == {Outcome.TRAINED: 4}


async def test_a_group_that_has_ended_never_comes_back(redis: Redis, stores: Stores) -> None:
    first, second, _ = await three_groups(stores)
    await stores.groups.drop([first], Outcome.CANCELLED, now=2.0, version=1)
    before = await snapshot(redis)
    for step in (
        stores.groups.form_batch(1, [second, first]),
        stores.groups.drop([second, first], Outcome.EXPIRED, now=2.0, version=1),
        attach(stores, [second, first]),
    ):
        with pytest.raises(Conflict):
            await step
    assert await snapshot(redis) == before


async def test_a_saved_step_without_groups_left_is_noted(stores: Stores) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    await stores.attach(LEARNER)
    await stores.groups.checkpointed([], incarnation=LEARNER, step=4, now=3.0)
    assert (await stores.runs.get("run")).checkpointed_step == 4
