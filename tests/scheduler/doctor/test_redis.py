"""A Redis that may lose what is kept in it is found out before the first start."""

import dataclasses

import pytest
from redis.asyncio import Redis

from scheduler.doctor.finding import Level
from scheduler.doctor.redis import embedded, findings, redis
from scheduler.state import keys
from scheduler.state.survey import Survey, version_of

SOUND = Survey(
    product="Redis 7.4.0",
    version=(7, 4, 0),
    eviction="noeviction",
    append_only=True,
    fsync="everysec",
    used_bytes=10,
    max_bytes=0,
    schema=None,
)


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, Level.OK, "noeviction, appendfsync everysec"),
        ({"schema": keys.SCHEMA_VERSION}, Level.OK, "noeviction"),
        ({"eviction": "allkeys-lru"}, Level.PROBLEM, "evicts keys"),
        ({"schema": "0"}, Level.PROBLEM, "schema version 0"),
        ({"version": (6, 2, 0)}, Level.PROBLEM, "older than 7.0"),
        ({"append_only": False}, Level.WARNING, "no append-only file"),
        ({"fsync": "no"}, Level.WARNING, "appendfsync no"),
        ({"used_bytes": 95, "max_bytes": 100}, Level.WARNING, "95% of its maxmemory"),
        ({"eviction": None, "append_only": None, "fsync": None}, Level.WARNING, "does not tell"),
    ],
)
def test_what_a_server_says_of_itself_is_judged(change: dict[str, object], level: Level, words: str) -> None:
    [found] = findings("redis:6379/0", dataclasses.replace(SOUND, **change))  # type: ignore[arg-type]
    assert found.level is level
    assert words in found.said


async def test_a_real_server_is_asked_and_left_as_it_is(redis_url: str, redis: Redis) -> None:
    [found] = await ask(redis_url)
    assert (found.level, "Valkey" in found.said) == (Level.OK, True)
    assert await redis.dbsize() == 0


async def test_one_that_is_away_is_named_without_its_password() -> None:
    [found] = await ask("redis://:hunter2@127.0.0.1:1/0")
    assert found.level is Level.PROBLEM
    assert "127.0.0.1:1/0" in found.said
    assert "hunter2" not in found.said + found.todo


def test_the_embedded_one_can_be_had_here() -> None:
    assert embedded().level is Level.OK


def test_a_version_of_something_else_than_numbers_is_unknown() -> None:
    assert (version_of("7.2.4"), version_of("unstable"), version_of("")) == ((7, 2, 4), (), ())


ask = redis
