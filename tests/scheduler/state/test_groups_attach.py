"""A new learner attaches: what became of the groups of the one before, in each case of its death."""

from scheduler.core.ledger import OpenState, Outcome
from scheduler.core.types import Stage
from tests.scheduler.state.learner import attach, outcomes, step_on, three_groups
from tests.scheduler.state.stores import Stores, make_config, make_weights


async def test_a_learner_attaches_after_one_that_died_before_it_stepped_on_its_batch(stores: Stores) -> None:
    first, second, third = await three_groups(stores)
    await stores.groups.form_batch(1, [first, second])
    kept = await attach(stores, await stores.groups.entries())
    # The batch is dissolved: the new learner gets one as fresh as can be.
    assert kept == [first, second, third] == await stores.groups.entries()
    assert await outcomes(stores) == {}


async def test_a_learner_attaches_after_one_that_died_after_it_stepped_and_before_it_saved_with_its_groups_still_fresh(
    stores: Stores,
) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    first, second, third = await three_groups(stores)
    await step_on(stores, [first], step=1)
    await step_on(stores, [second], step=2)
    kept = await attach(stores, await stores.groups.entries(), step=0, redelivered=(first.group_id, second.group_id))
    assert kept == [first, second, third] == await stores.groups.entries()
    ledger = await stores.audit()
    assert ledger.stages[Stage.PILOT].open[OpenState.PUBLISHED] == 6
    assert ledger.stages[Stage.PILOT].open[OpenState.APPLIED] == 0
    record = await stores.runs.get("run")
    assert (record.step, record.checkpointed_step, record.incarnation) == (0, 0, "second")
    # The steps are taken back, the versions are not: restored weights get a new one.
    assert record.version == 2


async def test_a_learner_attaches_after_one_that_died_after_it_stepped_and_before_it_saved_with_its_groups_stale(
    stores: Stores,
) -> None:
    first, second, third = await three_groups(stores)
    await step_on(stores, [first, second], step=1)
    entries = await stores.groups.entries()
    kept = await attach(stores, entries, redelivered=(second.group_id,), rolled_back=(first.group_id,))
    assert kept == [second, third]
    assert await outcomes(stores) == {Outcome.ROLLED_BACK: 4}
    assert (await stores.table.view("a")).history[0].what == "rolled_back"
    assert await stores.groups.packed(first.group_id) is None


async def test_a_learner_attaches_after_one_that_died_after_it_saved_a_step_that_it_had_reported_and_not_confirmed(
    stores: Stores,
) -> None:
    first, _, third = await three_groups(stores)
    await step_on(stores, [first], step=1)
    kept = await attach(stores, await stores.groups.entries(), step=1, trained=(first.group_id,))
    assert kept[-1] == third
    assert await outcomes(stores) == {Outcome.TRAINED: 4}


async def test_a_learner_attaches_after_one_that_died_after_it_saved_a_step_that_it_had_not_reported(
    stores: Stores,
) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    first, second, third = await three_groups(stores)
    await stores.groups.form_batch(1, [first, second])
    # Its checkpoint says that it trained the first and, by leaving it out, that it refused the second.
    entries = await stores.groups.entries()
    kept = await attach(stores, entries, step=1, trained=(first.group_id,), expired=(second.group_id,))
    assert kept == [third]
    assert await outcomes(stores) == {Outcome.TRAINED: 4, Outcome.EXPIRED: 4}
    record = await stores.runs.get("run")
    assert (record.step, record.checkpointed_step) == (1, 1)
    history = {name: (await stores.table.view(name)).history[0] for name in ("a", "b")}
    assert (history["a"].what, history["a"].step) == ("trained", 1)
    assert history["b"].what == "expired"


async def test_a_learner_attaches_after_one_that_died_after_it_saved_some_steps_and_lost_later_ones(
    stores: Stores,
) -> None:
    first, second, third = await three_groups(stores)
    fourth = await stores.make_group("d")
    for step, entry in enumerate((first, second, third), start=1):
        await step_on(stores, [entry], step=step)
    kept = await attach(
        stores,
        await stores.groups.entries(),
        step=1,
        trained=(first.group_id,),
        redelivered=(third.group_id,),
        rolled_back=(second.group_id,),
    )
    assert kept == [third, fourth]
    assert await outcomes(stores) == {Outcome.TRAINED: 4, Outcome.ROLLED_BACK: 4}


async def test_no_applied_group_is_forgotten_by_an_attachment_that_does_not_name_it(stores: Stores) -> None:
    first, *rest = await three_groups(stores)
    await step_on(stores, [first], step=1)
    assert await attach(stores, await stores.groups.entries()) == [first, *rest]
    await stores.audit()


async def test_what_a_new_learner_takes_it_can_train(stores: Stores) -> None:
    first, second, _ = await three_groups(stores)
    await step_on(stores, [first], step=1)
    kept = await attach(stores, await stores.groups.entries(), redelivered=(first.group_id,))
    await stores.versions.announce(make_weights(2))
    batch = await stores.groups.form_batch(1, kept[:2])
    stepped = await stores.groups.applied(
        batch, {}, incarnation="second", step=1, weights=make_weights(3, step=1), now=4.0
    )
    await stores.groups.checkpointed(stepped, incarnation="second", step=1, now=5.0)
    assert {entry.group_id for entry in stepped} == {first.group_id, second.group_id}
    assert await outcomes(stores) == {Outcome.TRAINED: 8}
