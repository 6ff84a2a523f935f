"""Two real SGLang servers that were started by hand: keys, TLS and folders of their own, and two runs at a time.

The tutorial in docs/own-servers.md is what this does.
"""

import asyncio
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.client import ServerClient
from inference.interpreter import sglang_python
from inference.launch import ServerSpec, launch_command
from inference.protocol import ModelLimits
from scheduler.cli.answers import Server, read
from scheduler.core.errors import InvalidInput
from scheduler.ports import free_port
from scheduler.tls import ClientTls
from tests.certificates import Authority
from tests.e2e.local_service import LocalService, started
from tests.last_words import last_words
from tests.tiny_model import CONTEXT_LENGTH, VOCAB_SIZE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.sglang,
    pytest.mark.timeout(420),
    pytest.mark.asyncio(loop_scope="session"),
]

KEY, ADMIN_KEY = "key-of-one", "admin-key-of-two"
START_S = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """Two servers, and the file that says what is particular of them."""

    one: str
    two: str
    file: Path


@asynccontextmanager
async def by_hand(folder: Path, spec: ServerSpec, *extra: str, tls: ClientTls) -> AsyncIterator[str]:
    """A server as a shell would start it; its address, once it answers."""
    scheme = "https" if tls.ca_file else "http"
    url, log = f"{scheme}://{spec.host}:{spec.port}", folder / f"server-{spec.port}.log"
    command = launch_command(spec, sglang_python())
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            "env",
            *(f"{name}={value}" for name, value in command.env.items()),
            *command.argv,
            *extra,
            stdin=DEVNULL,
            stdout=out,
            stderr=STDOUT,
        )
    client = ServerClient(
        url, ModelLimits(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH), api_key=spec.api_key, tls=tls.context()
    )
    try:
        async with asyncio.timeout(START_S):
            while not await client.is_ready():
                assert process.returncode is None, last_words([log])
                await asyncio.sleep(0.2)
        yield url
    finally:
        await client.aclose()
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def servers(model: Path, folder: Path, runs: Path) -> AsyncIterator[ByHand]:
    """One with a key; the other over TLS with two, which sees the learner's folder under another name."""
    authority = Authority(folder / "authority")
    identity = authority.issue("127.0.0.1")
    certified = "--ssl-certfile", str(identity.cert_file), "--ssl-keyfile", str(identity.key_file)
    first = ServerSpec(model_path=model, port=free_port(), dtype="float32", max_running=32, api_key=KEY)
    second = ServerSpec(
        model_path=model, port=free_port(), dtype="float32", max_running=32, api_key=KEY, admin_api_key=ADMIN_KEY
    )
    (folder / "elsewhere").symlink_to(runs)
    for name, key in (("key", KEY), ("admin-key", ADMIN_KEY)):
        (folder / name).write_text(key)
    async with AsyncExitStack() as stack:
        trusted = ClientTls(ca_file=authority.ca_file)
        one, two = await asyncio.gather(
            stack.enter_async_context(by_hand(folder, first, tls=ClientTls())),
            stack.enter_async_context(by_hand(folder, second, *certified, tls=trusted)),
        )
        file = folder / "servers.toml"
        file.write_text(f"""
            ["{one}"]
            labels = {{ gpu = "a" }}
            api_key_file = "{folder / "key"}"

            ["{two}"]
            api_key_file = "{folder / "key"}"
            admin_api_key_file = "{folder / "admin-key"}"
            ca_file = "{authority.ca_file}"
            folders = {{ "{runs}" = "{folder / "elsewhere"}" }}
        """)
        yield ByHand(one=one, two=two, file=file)


async def test_two_servers_that_were_started_by_hand_serve_two_runs_at_a_time(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "service"
    runs = folder / "runs"
    runs.mkdir(parents=True)
    async with (
        servers(model, tmp_path, runs) as found,
        started(folder, model=model, servers=(found.one,), settings={"SERVERS_FILE": str(found.file)}) as service,
    ):
        await _attach(service, found)
        ids = [
            await service.submit(run_id="one", max_steps=2, servers={"gpu": "a"}),
            await _create(service, run_id="two", max_steps=2, servers={"gpu": "b"}),
            await _create(service, run_id="third", max_steps=1),
        ]
        assert ids == ["one", "two", "third"]
        third = await service.until("third", lambda run: run.queue is not None and run.queue.position == 1)
        assert third.queue is not None
        assert third.queue.behind == ("one", "two")
        assert await _owners(service) == {found.one: "one", found.two: "two"}, "each has a server before its learner"
        for run_id in ids:
            run = await service.ended(run_id)
            assert run.state == "finished", (run, service.last_words())


async def _create(service: LocalService, **config: object) -> str:
    return await service.ask(lambda client: str(client.create_run(service.request(**config))["run_id"]))


async def _attach(service: LocalService, found: ByHand) -> None:
    """One is named in the settings; the other is added, and what is none is refused."""
    with pytest.raises(InvalidInput, match="is no gateway"):
        await service.ask(lambda client: client.add_gateway(found.one))
    added = await service.ask(lambda client: read(client.add_server(found.two, {"gpu": "b"}), Server))
    one, two = await service.ask(lambda client: [read(server, Server) for server in client.servers()])
    assert (one.labels, two.labels) == ({"gpu": "a"}, {"gpu": "b"})
    assert added.warnings == two.warnings == ()


async def _owners(service: LocalService) -> dict[str, str]:
    shown = await service.ask(lambda client: [read(server, Server) for server in client.servers()])
    return {server.url: server.run for server in shown}
