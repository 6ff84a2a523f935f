"""A landing that waits to be written with the visit's next move."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as NoConnection

from scheduler.core.errors import Conflict
from scheduler.core.types import Stage
from scheduler.state.transaction import Transaction, Transactor
from scheduler.state.visit import Change, Landing
from tests.scheduler.state.stores import Stores, make_rollouts, open_money, spent

PILOTS = make_rollouts(3, tokens=4)
MOVES: dict[str, Callable[[Stores, Change], Awaitable[object]]] = {
    "launch": lambda stores, change: stores.visits.launch(change, Stage.COMMIT, 2),
    "settle": lambda stores, change: stores.settle(change),
    "publish": lambda stores, change: stores.publish(change),
}


async def landed(stores: Stores) -> Change:
    await stores.seed("p")
    visit = await stores.visits.launch(await stores.claim(rollouts=5), Stage.PILOT, 3)
    return stores.visits.landed(visit, Landing(stage=Stage.PILOT, rollouts=PILOTS), held=PILOTS)


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_it_is_written_with_the_next_move(
    stores: Stores, move: Callable[[Stores, Change], Awaitable[object]]
) -> None:
    await move(stores, await landed(stores))
    assert spent(await stores.audit()) == (5 if move is MOVES["launch"] else 3, 12)


@pytest.mark.parametrize("is_applied", [False, True], ids=["refused", "unanswered"])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_after_a_move_that_broke_it_can_be_written_by_itself(
    stores: Stores,
    move: Callable[[Stores, Change], Awaitable[object]],
    is_applied: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change, apply = await landed(stores), Transactor.apply

    async def broken(transactor: Transactor, transaction: Transaction) -> None:
        if is_applied:
            await apply(transactor, transaction)
        raise NoConnection

    with monkeypatch.context() as patch:
        patch.setattr(Transactor, "apply", broken)
        with pytest.raises(NoConnection):
            await move(stores, change)
    after = await stores.audit()
    if is_applied:
        with pytest.raises(Conflict):
            await stores.visits.write(change)
        assert await stores.audit() == after
        return
    assert spent(after) == (3, 0)
    visit = await stores.visits.write(change)
    assert await stores.visits.open_visits() == [(visit, PILOTS)]
    ledger = await stores.audit()
    assert (open_money(ledger), spent(ledger)) == ((2, 20), (3, 12))
