"""Waiting for the first of two futures."""

import asyncio

import pytest

from scheduler.engine.first_of import first_of


@pytest.mark.parametrize("first", [0, 1])
async def test_whichever_is_done_first_ends_the_wait_and_the_other_is_left_alone(first: int) -> None:
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
    waiting = asyncio.create_task(first_of(*futures))
    await asyncio.sleep(0)
    assert not waiting.done()
    futures[first].set_exception(ValueError("not read here"))
    await waiting
    assert not futures[1 - first].done()
    futures[1 - first].cancel()
    with pytest.raises(ValueError, match="not read here"):
        futures[first].result()


async def test_what_is_done_already_is_not_waited_for() -> None:
    one, other = (asyncio.get_running_loop().create_future() for _ in range(2))
    other.cancel()
    await first_of(one, other)
    assert not one.done()


async def test_who_waits_may_be_cancelled_and_cancels_neither() -> None:
    one, other = (asyncio.get_running_loop().create_future() for _ in range(2))
    waiting = asyncio.create_task(first_of(one, other))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not one.done()
    assert not other.done()
    one.set_result(None)
    await asyncio.sleep(0)
