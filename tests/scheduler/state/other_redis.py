"""Servers that are not reached as a Redis of its own is: a Sentinel, a replica, a Cluster, one behind TLS.

Owns: their start and stop, in a folder of their own. Invariant: nothing of them is left when the block ends.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from scheduler.embedded_redis import server_binary
from scheduler.ports import free_port
from tests.certificates import Identity

_DEADLINE_S = 30.0
_NUM_SLOTS = 16384


@asynccontextmanager
async def serving(folder: Path, *arguments: str) -> AsyncIterator[int]:
    """The port of a server with these arguments, once it answers."""
    port = free_port()
    _configured(folder, port)
    process = await asyncio.create_subprocess_exec(
        str(server_binary()), str(folder / "server.conf"), *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_DEADLINE_S), Redis(port=port) as redis:
            while not await _answers(redis):  # noqa: ASYNC110 another process tells nobody
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()


def _configured(folder: Path, port: int) -> None:
    """The file is the server's own to write: a Sentinel keeps what it knows in it."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "server.conf").write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n")


async def _answers(redis: Redis) -> bool:
    try:
        return bool(await redis.ping())
    except ConnectionError:
        return False


@asynccontextmanager
async def cluster(folder: Path, *, num_nodes: int) -> AsyncIterator[list[int]]:
    """The ports of a Cluster's nodes, each with its share of the slots, once all of them know of all."""
    async with AsyncExitStack() as stack:
        buses = [free_port() for _ in range(num_nodes)]
        ports, nodes = list[int](), list[Redis]()
        for number, bus in enumerate(buses):
            arguments = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", "")
            port = await stack.enter_async_context(serving(folder / f"node-{number}", *arguments))
            ports.append(port)
            nodes.append(Redis(port=port))
            stack.push_async_callback(nodes[-1].aclose)
        for number, node in enumerate(nodes):
            share = (number * _NUM_SLOTS // num_nodes, (number + 1) * _NUM_SLOTS // num_nodes - 1)
            await node.execute_command("CLUSTER", "ADDSLOTSRANGE", *share)  # type: ignore[no-untyped-call]
            await node.execute_command(  # type: ignore[no-untyped-call]
                "CLUSTER", "MEET", "127.0.0.1", ports[0], buses[0]
            )
        async with asyncio.timeout(_DEADLINE_S):
            for node in nodes:
                while not await _is_whole(node, num_nodes):  # noqa: ASYNC110 another process tells nobody
                    await asyncio.sleep(0.02)
        yield ports


async def _is_whole(node: Redis, num_nodes: int) -> bool:
    told = bytes(await node.execute_command("CLUSTER", "INFO"))  # type: ignore[no-untyped-call]
    return b"cluster_state:ok" in told and f"cluster_size:{num_nodes}\r\n".encode() in told


@asynccontextmanager
async def behind_tls(port: int, identity: Identity) -> AsyncIterator[int]:
    """The port at which a server is reached over TLS: the embedded one is built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert_file, identity.key_file)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_passed_on(reader, there_writer), _passed_on(there_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()
