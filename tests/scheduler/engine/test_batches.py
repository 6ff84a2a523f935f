"""Which groups make a batch, and when a full batch waits."""

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.allocators.interface import ReadyGroup, Selection
from scheduler.core.allocators.pilot_commit import PilotCommit
from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from tests.scheduler.engine.desk import Desk


async def test_groups_that_are_too_stale_are_never_offered(desk: Desk) -> None:
    stale = await desk.make_groups(1, version=1)
    await desk.publish("again", step=0)
    await desk.publish("and again", step=0)
    fresh = await desk.make_groups(2, version=3)
    batch = await desk.take()
    assert set(batch.group_ids) == set(fresh)
    assert stale[0] not in desk.pipeline.groups


async def test_a_full_batch_waits_for_an_older_group_under_way_and_not_for_ever(desk: Desk) -> None:
    # Two more of version 1 are being committed: after this batch of version 2 one of them would be too stale.
    await desk.publish("again", step=0)
    desk.pipeline.committing.update({"x": 1, "y": 1, "z": 1})
    young = await desk.make_groups(2, version=2)
    assert await desk.batches.compose(1) == []
    assert desk.batches.patient_until is not None
    desk.pipeline.committing.pop("z")
    desk.pipeline.committing.pop("y")
    old = await desk.make_groups(1, version=1)
    batch = await desk.take()
    assert old[0] in batch.group_ids
    assert set(batch.group_ids) < {*young, *old}


async def test_patience_that_is_used_up_lets_the_batch_go(desk: Desk) -> None:
    await desk.publish("again", step=0)
    desk.pipeline.committing.update({"x": 1, "y": 1, "z": 1})
    young = await desk.make_groups(2, version=2)
    batch = await desk.take()
    assert set(batch.group_ids) == set(young)


async def test_patience_ends_with_what_it_was_for(desk: Desk) -> None:
    """A deadline that is left behind would make the stream spin once it has passed."""
    await desk.publish("again", step=0)
    desk.pipeline.committing.update({"x": 1, "y": 1, "z": 1})
    young = await desk.make_groups(2, version=2)
    assert await desk.batches.compose(1) == []
    await desk.batches.drop([desk.pipeline.groups[young[0]]], Outcome.EXPIRED)
    assert await desk.batches.compose(1) == []
    assert desk.batches.patient_until is None


async def test_a_smaller_batch_is_made_only_where_nothing_more_will_come(desk: Desk) -> None:
    names = await desk.make_groups(1)
    assert await desk.batches.compose(1) == []
    desk.batches.may_be_short = True
    assert [entry.group_id for entry in await desk.batches.compose(1)] == names


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasteful(PilotCommit):
    """Discards what it does not need, and says what it was offered before."""

    def select(self, ready: Sequence[ReadyGroup], held: Sequence[ReadyGroup], need: int) -> Selection:
        names = [group.group_id for group in (*held, *ready)]
        return Selection(batch=tuple(names[:need]), surplus=tuple(names[need + 1 :]))


async def test_what_a_rule_discards_is_surplus_and_what_it_keeps_is_offered_as_held(desk: Desk) -> None:
    desk.rule.allocator = Wasteful(pilots=2, commits=2, rounds=None)
    names = await desk.make_groups(4)
    await desk.apply(await desk.take())
    assert [entry.group_id for entry in desk.pipeline.published()] == names[2:3]
    ledger = await desk.stores.audit()
    assert ledger.stages[Stage.PILOT].outcomes[Outcome.SURPLUS] == 2
    later = await desk.make_groups(1)
    batch = await desk.take()
    assert batch.group_ids == (names[2], later[0])
