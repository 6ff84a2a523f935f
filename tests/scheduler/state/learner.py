"""The learner of a run as its stores see it: it steps on batches, and a second one takes its place."""

from scheduler.core.ledger import Outcome
from scheduler.core.types import Stage
from scheduler.state.groups import Attachment, GroupEntry
from tests.scheduler.state.stores import Stores, make_weights

LEARNER = "learner"


async def outcomes(stores: Stores) -> dict[Outcome, int]:
    """Attempts by outcome over both stages, of books that balance."""
    ledger = await stores.audit()
    lines = [ledger.stages[stage].outcomes for stage in (Stage.PILOT, Stage.COMMIT)]
    total = {outcome: sum(line[outcome] for line in lines) for outcome in Outcome}
    return {outcome: count for outcome, count in total.items() if count}


async def three_groups(stores: Stores) -> list[GroupEntry]:
    """Three published groups of four rollouts each, with a learner attached."""
    await stores.attach(LEARNER)
    return [await stores.make_group(name) for name in ("a", "b", "c")]


async def step_on(
    stores: Stores, entries: list[GroupEntry], *, step: int, refused: tuple[str, ...] = ()
) -> list[GroupEntry]:
    """The learner takes a batch and steps on it."""
    batch = await stores.groups.form_batch(step, entries)
    return await stores.groups.applied(
        batch,
        dict.fromkeys(refused, 3),
        incarnation=LEARNER,
        step=step,
        weights=make_weights(step, step=step),
        now=2.0,
    )


async def attach(
    stores: Stores,
    entries: list[GroupEntry],
    *,
    step: int = 0,
    trained: tuple[str, ...] = (),
    redelivered: tuple[str, ...] = (),
    rolled_back: tuple[str, ...] = (),
    expired: tuple[str, ...] = (),
) -> list[GroupEntry]:
    """A second learner attaches."""
    attachment = Attachment(
        incarnation="second",
        step=step,
        trained=trained,
        redelivered=redelivered,
        rolled_back=rolled_back,
        expired=expired,
    )
    return await stores.groups.attach(entries, attachment, now=3.0, version=1)
