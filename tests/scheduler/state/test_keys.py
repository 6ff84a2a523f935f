"""Key names: one hash tag a run, another a pool."""

import inspect
import itertools

from scheduler.state.keys import PoolKeys, RunKeys


def run_keys(run_id: str) -> list[str]:
    keys = RunKeys(run_id)
    fixed = [name for name, _ in inspect.getmembers(RunKeys, lambda member: isinstance(member, property))]
    return [*(getattr(keys, name) for name in fixed), keys.done("t"), keys.history("p")]


def pool_keys(name: str) -> list[str]:
    keys = PoolKeys(name)
    fixed = [name for name, _ in inspect.getmembers(PoolKeys, lambda member: isinstance(member, property))]
    return [getattr(keys, name) for name in fixed]


def tag(key: str) -> str:
    """The part of a key that Redis Cluster hashes."""
    return key[key.index("{") + 1 : key.index("}")]


def test_every_key_of_a_run_carries_the_tag_of_that_run() -> None:
    assert len(run_keys("a")) > 10
    assert {tag(key) for key in run_keys("a")} == {"run:a"}


def test_every_key_of_a_pool_carries_the_tag_of_that_pool() -> None:
    assert {tag(key) for key in pool_keys("a")} == {"pool:a"}


def test_no_two_things_share_a_key() -> None:
    every = [*run_keys("a"), *run_keys("b"), *pool_keys("a"), *pool_keys("b")]
    assert not [pair for pair in itertools.combinations(every, 2) if pair[0] == pair[1]]


def test_a_prompts_history_and_a_transactions_guard_have_keys_of_their_own() -> None:
    keys = RunKeys("a")
    assert keys.history("p") != keys.history("q")
    assert keys.done("t") != keys.done("u")
