import asyncio

import pytest

from scheduler.engine.uninterrupted import uninterrupted


async def test_a_result_and_an_error_come_through() -> None:
    async def fail() -> None:
        raise ValueError("no")

    assert await uninterrupted(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="no"):
        await uninterrupted(fail())


@pytest.mark.parametrize("fails", [False, True])
async def test_work_that_has_begun_ends_before_its_caller_is_cancelled(fails: bool) -> None:
    may_go_on, ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        await may_go_on.wait()
        ended = True
        if fails:
            raise ValueError("seen by nobody: the cancellation matters more")

    caller = asyncio.create_task(uninterrupted(work()))
    await asyncio.sleep(0)
    caller.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not caller.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended
