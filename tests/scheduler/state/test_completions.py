"""Completions of ended visits: kept as text, up to a limit in bytes."""

import random

import pytest_asyncio
from redis.asyncio import Redis

from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState
from scheduler.core.types import Rollout, Stage
from scheduler.state.completions import CompletionStore
from scheduler.state.unsolved import unsolved
from scheduler.state.visit import Landing, Trace
from tests.factories import make_rollout
from tests.scheduler.state.stores import Stores, make_event, make_row

NAMES = ("p", "q", "r")


@pytest_asyncio.fixture
async def stores(redis: Redis) -> Stores:
    opened = await Stores.open(redis)
    await opened.seed(*NAMES)
    return opened


def _rollout(name: str, text: str) -> Rollout:
    return make_rollout(rid=f"{name}-1", text=text)


async def _visit(stores: Stores, name: str, text: str, *, at: float = 1.0) -> None:
    """A whole visit of one pilot that answered so."""
    rollouts = (_rollout(name, text),)
    visit = await stores.visits.launch(await stores.claim(name), Stage.PILOT, 1)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=rollouts), held=rollouts)
    await stores.visits.settle(
        visit,
        Outcome.SKIPPED,
        row=make_row(),
        state=PromptState.READY,
        event=make_event(at=at),
        trace=Trace(rollouts=rollouts),
    )


def _noise(chars: int) -> str:
    """A text that does not compress to nothing."""
    return "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=chars))


async def test_a_visit_that_has_ended_keeps_what_its_rollouts_said(stores: Stores) -> None:
    await _visit(stores, "p", "3 + 4 is 7 — surely ✓")
    found = await CompletionStore(stores.redis, stores.keys).many(["visit-p", "visit-q"])
    assert found == {"visit-p": {"p-1": "3 + 4 is 7 — surely ✓"}}


async def test_an_open_visit_shows_the_rollouts_that_are_back(stores: Stores) -> None:
    rollouts = (_rollout("p", "so far"),)
    visit = await stores.visits.launch(await stores.claim("p"), Stage.PILOT, 2)
    await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=rollouts), held=rollouts)
    found = await CompletionStore(stores.redis, stores.keys).many(["visit-p"])
    assert found == {"visit-p": {"p-1": "so far"}}


async def test_beyond_the_limit_the_oldest_are_forgotten_and_the_bytes_are_counted_right(stores: Stores) -> None:
    for at, name in enumerate(NAMES):
        await _visit(stores, name, _noise(10_000), at=float(at))
    everything = CompletionStore(stores.redis, stores.keys)
    size = await everything.size()
    assert size == sum([await stores.redis.hstrlen(stores.keys.completions, f"visit-{name}") for name in NAMES])
    store = CompletionStore(stores.redis, stores.keys, kept_bytes=size - 1)
    assert await store.trim(stores.transactor) == 1
    assert set(await store.many(["visit-p", "visit-q", "visit-r"])) == {"visit-q", "visit-r"}
    assert await store.size() == sum(
        [await stores.redis.hstrlen(stores.keys.completions, f"visit-{name}") for name in ("q", "r")]
    )
    assert await store.trim(stores.transactor) == 0


async def test_a_run_that_is_to_keep_none_forgets_those_that_it_has(stores: Stores) -> None:
    await _visit(stores, "p", "text")
    assert await CompletionStore(stores.redis, stores.keys, kept_bytes=0).trim(stores.transactor) == 1
    for key in (stores.keys.completions, stores.keys.completed):
        assert not await stores.redis.exists(key)
    assert await CompletionStore(stores.redis, stores.keys).size() == 0


async def test_a_visit_without_rollouts_leaves_nothing(stores: Stores) -> None:
    await stores.settle(await stores.claim("p"), what="lost")
    assert await CompletionStore(stores.redis, stores.keys).size() == 0


async def test_long_texts_are_kept_as_they_are(stores: Stores) -> None:
    await _visit(stores, "p", long := _noise(100_000))
    assert (await CompletionStore(stores.redis, stores.keys).many(["visit-p"]))["visit-p"] == {"p-1": long}


async def test_rollouts_that_no_evidence_counts_keep_their_texts_and_say_nothing_of_the_prompt(stores: Stores) -> None:
    rollouts = (_rollout("p", "half-way"),)
    visit = await stores.visits.launch(await stores.claim("p"), Stage.PILOT, 1)
    visit = await stores.visits.land(visit, Landing(stage=Stage.PILOT, rollouts=rollouts), held=rollouts)
    await stores.visits.settle(
        visit,
        Outcome.CANCELLED,
        row=make_row(),
        state=PromptState.READY,
        event=make_event("cancelled"),
        trace=Trace(unjudged=rollouts),
    )
    assert await CompletionStore(stores.redis, stores.keys).many(["visit-p"]) == {"visit-p": {"p-1": "half-way"}}
    assert (await unsolved(stores.redis, stores.keys, min_rollouts=0, count=9, offset=0)).total == 0
