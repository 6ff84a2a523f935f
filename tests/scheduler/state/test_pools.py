"""Pools: a prompt id names one content for ever."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, NotFound
from scheduler.core.types import Prompt
from scheduler.state.pools import Added, PoolRecord, PoolStore
from tests.scheduler.state.stores import snapshot

POOL = PoolRecord(
    name="sums",
    tokenizer="/models/tiny",
    reward="exact",
    context_length=128,
    max_prompt_tokens=64,
    created_at=1.0,
)
on_redis = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
prompts = st.builds(
    Prompt,
    prompt_id=st.text(min_size=1, max_size=8),
    input_ids=st.lists(st.integers(0, 2**31), max_size=5).map(tuple),
    text=st.text(max_size=8),
    answer=st.text(max_size=8),
    metadata=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
)


def make_prompt(prompt_id: str, *, answer: str = "7") -> Prompt:
    """A prompt."""
    return Prompt(prompt_id=prompt_id, input_ids=(1, 2, 3), answer=answer)


@pytest.fixture
def pools(redis: Redis) -> PoolStore:
    return PoolStore(redis)


async def ids(pools: PoolStore, sequence: int = 0, *, page: int = 1000) -> list[list[str]]:
    """Pages of prompt ids that arrived after `sequence`."""
    return [[name for name, _ in found] async for found in pools.ids_after("sums", sequence, page=page)]


async def test_a_pool_is_read_as_it_was_created(pools: PoolStore) -> None:
    await pools.create(POOL)
    assert await pools.get("sums") == POOL
    assert await pools.size("sums") == 0


async def test_creating_the_same_pool_again_changes_nothing(redis: Redis, pools: PoolStore) -> None:
    await pools.create(POOL)
    before = await snapshot(redis)
    await pools.create(replace(POOL, created_at=2.0))
    assert await snapshot(redis) == before


@pytest.mark.parametrize(
    "other",
    [
        replace(POOL, tokenizer="/models/other"),
        replace(POOL, reward="numeric"),
        replace(POOL, max_prompt_tokens=32),
        replace(POOL, context_length=256),
    ],
)
async def test_another_pool_under_a_taken_name_is_refused(pools: PoolStore, other: PoolRecord) -> None:
    await pools.create(POOL)
    with pytest.raises(Conflict, match="choose another name"):
        await pools.create(other)
    assert await pools.get("sums") == POOL


async def test_a_pool_that_does_not_exist_is_named(pools: PoolStore) -> None:
    with pytest.raises(NotFound, match="no pool named sums") as missing:
        await pools.get("sums")
    assert missing.value.field == "pool"


async def test_pools_are_listed_by_name(pools: PoolStore) -> None:
    for name in ("sums", "products", "terms"):
        await pools.create(replace(POOL, name=name))
    assert await pools.names() == ["products", "sums", "terms"]


async def test_adding_the_same_prompts_again_changes_nothing(redis: Redis, pools: PoolStore) -> None:
    added = [make_prompt("b"), make_prompt("a")]
    assert await pools.add("sums", added) == [Added.ADDED, Added.ADDED]
    before = await snapshot(redis)
    assert await pools.add("sums", added) == [Added.UNCHANGED, Added.UNCHANGED]
    assert await snapshot(redis) == before


async def test_another_content_under_a_known_id_is_refused_and_the_rest_is_added(pools: PoolStore) -> None:
    await pools.add("sums", [make_prompt("a", answer="7")])
    answers = await pools.add("sums", [make_prompt("b"), make_prompt("a", answer="8"), make_prompt("c")])
    assert answers == [Added.ADDED, Added.CONFLICT, Added.ADDED]
    [kept] = await pools.prompts("sums", ["a"])
    assert kept.answer == "7"
    assert await ids(pools) == [["a", "b", "c"]]


async def test_a_prompt_given_twice_at_once_is_added_once(pools: PoolStore) -> None:
    answers = await pools.add("sums", [make_prompt("a"), make_prompt("a"), make_prompt("a", answer="8")])
    assert answers == [Added.ADDED, Added.UNCHANGED, Added.CONFLICT]
    assert await pools.size("sums") == 1


async def test_prompts_keep_their_order_of_arrival(pools: PoolStore) -> None:
    await pools.add("sums", [make_prompt("b"), make_prompt("a")])
    await pools.add("sums", [make_prompt("a"), make_prompt("0")])
    assert await ids(pools) == [["b", "a", "0"]]
    assert await ids(pools, 1) == [["a", "0"]]
    assert await ids(pools, 3) == []


async def test_a_long_pool_is_read_in_pages_that_miss_nothing(pools: PoolStore) -> None:
    names = [f"p{index}" for index in range(25)]
    await pools.add("sums", [make_prompt(name) for name in names])
    pages = await ids(pools, page=10)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [name for page in pages for name in page] == names


async def test_prompts_added_at_once_each_get_a_place_of_their_own(pools: PoolStore) -> None:
    await asyncio.gather(*(pools.add("sums", [make_prompt(f"p{index}")]) for index in range(50)))
    sequence = [number async for page in pools.ids_after("sums", 0) for _, number in page]
    assert sequence == list(range(1, 51))


async def test_prompts_are_answered_in_the_order_asked(pools: PoolStore) -> None:
    await pools.add("sums", [make_prompt("a"), make_prompt("b")])
    found = await pools.prompts("sums", ["b", "a", "b"])
    assert [prompt.prompt_id for prompt in found] == ["b", "a", "b"]
    assert await pools.prompts("sums", []) == []


async def test_a_prompt_that_is_not_in_the_pool_is_named(pools: PoolStore) -> None:
    await pools.add("sums", [make_prompt("a")])
    with pytest.raises(NotFound, match="pool sums has no prompt b") as missing:
        await pools.prompts("sums", ["a", "b"])
    assert missing.value.field == "prompt"


async def test_pools_do_not_share_prompts(pools: PoolStore) -> None:
    await pools.add("sums", [make_prompt("a")])
    assert await pools.size("products") == 0
    assert await pools.add("products", [make_prompt("a", answer="other")]) == [Added.ADDED]


@on_redis
@given(prompts)
async def test_a_prompt_is_read_as_it_was_added(redis: Redis, prompt: Prompt) -> None:
    await redis.flushdb()
    pools = PoolStore(redis)
    await pools.add("sums", [prompt])
    assert await pools.prompts("sums", [prompt.prompt_id]) == [prompt]
