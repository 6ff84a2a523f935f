"""A snapshot of a Redis of one's own, brought back as docs/state.md says; and the way that would lose it."""

import asyncio
import shutil
from pathlib import Path

from redis.asyncio import Redis

from scheduler.state.connection import check
from scheduler.state.keys import SCHEMA, SCHEMA_VERSION
from tests.scheduler.state.other_redis import serving

_AOF = ("--appendonly", "yes", "--save", "")


async def snapshot(folder: Path, copy: Path) -> None:
    """A server with our mark in it, and the snapshot that it was asked for."""
    async with serving(folder, *_AOF) as port, Redis(port=port) as redis:
        await check(redis)
        await redis.save()
        await asyncio.to_thread(shutil.copy, folder / "dump.rdb", copy)


async def test_a_snapshot_is_read_without_the_append_only_file_which_is_then_written_anew(tmp_path: Path) -> None:
    copy, restored = tmp_path / "dump.rdb", tmp_path / "restored"
    await snapshot(tmp_path / "lost", copy)
    restored.mkdir()
    shutil.copy(copy, restored / "dump.rdb")
    async with serving(restored, "--appendonly", "no", "--save", "") as port, Redis(port=port) as redis:
        assert await redis.get(SCHEMA) == SCHEMA_VERSION.encode()
        await redis.config_set("appendonly", "yes")
        async with asyncio.timeout(30):
            while (await redis.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110 another process tells nobody
                await asyncio.sleep(0.02)
    async with serving(restored, *_AOF) as port, Redis(port=port) as redis:
        assert await redis.get(SCHEMA) == SCHEMA_VERSION.encode()


async def test_a_server_with_an_append_only_file_passes_over_a_snapshot(tmp_path: Path) -> None:
    copy, restored = tmp_path / "dump.rdb", tmp_path / "restored"
    await snapshot(tmp_path / "lost", copy)
    restored.mkdir()
    shutil.copy(copy, restored / "dump.rdb")
    async with serving(restored, *_AOF) as port, Redis(port=port) as redis:
        assert await redis.get(SCHEMA) is None
