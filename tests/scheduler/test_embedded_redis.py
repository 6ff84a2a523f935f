"""The embedded Redis keeps what it acknowledged, and nothing of it outlives its parent."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from scheduler import embedded_redis
from scheduler.state.connection import check, connect

_PARENT = """
import asyncio, pathlib, sys
from scheduler import embedded_redis, logs
from scheduler.state.connection import connect

async def main():
    logs.configure("WARNING")
    async with embedded_redis.running(pathlib.Path(sys.argv[1])) as url:
        redis = connect(url)
        await redis.set("acknowledged", "yes")
        print((await redis.info("server"))["process_id"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


async def test_it_dies_with_a_killed_parent_and_its_successor_has_every_acknowledged_write(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    server_pid = int(await parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    deadline = time.monotonic() + 10
    while _is_alive(server_pid):
        assert time.monotonic() < deadline, "the server outlives its killed parent"
        await asyncio.sleep(0)
    async with embedded_redis.running(tmp_path) as url:
        redis = connect(url)
        assert await redis.get("acknowledged") == b"yes"
        await redis.aclose()


async def test_it_is_set_up_as_the_scheduler_demands(tmp_path: Path) -> None:
    async with embedded_redis.running(tmp_path) as url:
        redis = connect(url)
        await check(redis)
        config = await redis.config_get("append*")
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "always")
        await redis.aclose()
