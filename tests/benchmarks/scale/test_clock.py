"""The virtual clock jumps where nothing is waited for, and stands still where something is."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from benchmarks.scale.clock import VirtualLoop

Work = Callable[[VirtualLoop], Awaitable[float]]


def virtually(work: Work) -> float:
    loop = VirtualLoop()

    async def whole() -> float:
        return await work(loop)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(whole())


def test_a_day_passes_at_once() -> None:
    async def work(loop: VirtualLoop) -> float:
        await asyncio.gather(asyncio.sleep(86_400.0), asyncio.sleep(3_600.0))
        return loop.time()

    began = time.perf_counter()
    assert virtually(work) == 86_400.0
    assert time.perf_counter() - began < 60.0


def test_time_stands_still_while_a_thread_is_waited_for() -> None:
    done = threading.Event()

    async def work(loop: VirtualLoop) -> float:
        sleeping = asyncio.create_task(asyncio.sleep(10.0))
        waiting = asyncio.create_task(asyncio.to_thread(done.wait, 30.0))
        await asyncio.sleep(0)
        before = loop.time()
        loop.call_soon(done.set)
        assert await waiting
        at = loop.time()
        assert at == before
        await sleeping
        return loop.time()

    assert virtually(work) == 10.0


def test_a_deadline_falls_due_in_virtual_time() -> None:
    async def work(loop: VirtualLoop) -> float:
        try:
            async with asyncio.timeout(5.0):
                await asyncio.Event().wait()
        except TimeoutError:
            return loop.time()
        return -1.0

    assert virtually(work) == 5.0
