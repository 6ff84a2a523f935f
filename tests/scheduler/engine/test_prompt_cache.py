"""Prompts prefilled once for the attempts that share them."""

import asyncio
from dataclasses import replace

import pytest

from inference.client import ServerClient
from inference.protocol import ModelLimits
from scheduler.core.errors import ServerUnavailable
from scheduler.core.types import Prompt
from scheduler.engine.prompt_cache import PromptCache
from scheduler.fleet import Dispatch, Server

LONG = Prompt(prompt_id="long", input_ids=tuple(range(40)), text="?", answer="yes")
SHORT = replace(LONG, prompt_id="short", input_ids=(1, 2, 3))


def server() -> Server:
    return Server(client=ServerClient("http://s", ModelLimits(vocab_size=64, context_length=64)), capacity=8)


class Prefills:
    """Prefills that end when they are let, or fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> None:
        self.count += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error


async def hold(
    cache: PromptCache, prefills: Prefills, *, prompt: Prompt = LONG, on: Dispatch, attempts: int = 8
) -> list[BaseException | None]:
    """So many attempts at once, each of which wants the prompt in the cache first."""
    waiting = [asyncio.create_task(cache.hold(prompt, on, attempts, prefills)) for _ in range(attempts)]
    await asyncio.sleep(0)
    prefills.go.set()
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_attempts_at_once_wait_for_one_prefill() -> None:
    cache, prefills, on = PromptCache(), Prefills(), Dispatch(server=server(), version=1, breaks=0)
    assert await hold(cache, prefills, on=on) == [None] * 8
    assert await hold(cache, prefills, on=on) == [None] * 8
    assert prefills.count == 1


async def test_each_server_and_each_version_has_a_cache_of_its_own() -> None:
    cache, prefills, one, other = PromptCache(), Prefills(), server(), server()
    for on in (
        Dispatch(server=one, version=1, breaks=0),
        Dispatch(server=other, version=1, breaks=0),
        Dispatch(server=one, version=2, breaks=0),
    ):
        await hold(cache, prefills, on=on)
        await hold(cache, prefills, on=on)
    assert prefills.count == 3


@pytest.mark.parametrize(("prompt", "attempts"), [(SHORT, 32), (LONG, 1), (LONG, 7)])
async def test_what_saves_little_is_not_worth_a_call(prompt: Prompt, attempts: int) -> None:
    cache, prefills = PromptCache(), Prefills()
    on = Dispatch(server=server(), version=1, breaks=0)
    assert await hold(cache, prefills, prompt=prompt, on=on, attempts=attempts) == [None] * attempts
    assert prefills.count == 0


async def test_who_waits_for_a_prefill_that_fails_fails_with_it_and_the_next_tries_again() -> None:
    cache, on = PromptCache(), Dispatch(server=server(), version=1, breaks=0)
    error = ServerUnavailable("gone")
    failing = Prefills(error)
    assert await hold(cache, failing, on=on) == [error] * 8
    assert failing.count == 1
    working = Prefills()
    assert await hold(cache, working, on=on) == [None] * 8
    assert working.count == 1


async def test_a_prefill_whose_attempt_is_cancelled_is_taken_over_by_the_next() -> None:
    cache, prefills, on = PromptCache(), Prefills(), Dispatch(server=server(), version=1, breaks=0)
    first, second = (asyncio.create_task(cache.hold(LONG, on, 8, prefills)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    prefills.go.set()
    await second
    assert first.cancelled()
    assert prefills.count == 2
