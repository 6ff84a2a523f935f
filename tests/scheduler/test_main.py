"""The scheduler process: it starts with what it needs, stops in order, and never lives on without its loops."""

import asyncio
import json
import os
import signal
import ssl
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from scheduler import embedded_redis
from scheduler.main import main
from scheduler.ports import free_port
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.pools import PoolStore
from scheduler.state.runs import RunStore
from tests.certificates import Authority
from tests.scheduler.api.bodies import add_pool
from tests.scheduler.state.stores import make_config

DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A scheduler process."""

    process: Process
    url: str

    async def answers(self, path: str = "/healthz") -> httpx.Response:
        """What it answers, once it does."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http, asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    return await http.get(path)
                except httpx.ConnectError:
                    if self.process.returncode is not None:
                        raise
                    await asyncio.sleep(0.02)

    async def ended(self) -> tuple[int | None, list[dict[str, object]]]:
        """Its exit code and what it logged."""
        async with asyncio.timeout(DEADLINE_S):
            _, logged = await self.process.communicate()
        return self.process.returncode, [json.loads(line) for line in logged.splitlines()]


@asynccontextmanager
async def scheduler_process(model: Path, **settings: str) -> AsyncIterator[Running]:
    port = str(free_port())
    named = {"MODEL": str(model), "PORT": port, "NUM_REWARD_WORKERS": "1", **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scheduler.main",
        env={**os.environ, **{f"PILOTCOMMIT_{name}": value for name, value in named.items()}},
        stdin=DEVNULL,
        stderr=PIPE,
    )
    try:
        yield Running(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _held(redis: Redis, keys: RunKeys) -> None:
    async with asyncio.timeout(DEADLINE_S):
        # Another process takes it: there is nothing to wait for but the key.
        while not await redis.exists(keys.lease_alive):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_arguments_are_refused_because_settings_come_from_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "1"]) == 2
    assert "PILOTCOMMIT_" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTCOMMIT_MODEL", "/")
    assert main([]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "PILOTCOMMIT_MODEL" in line


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_everything_in_order(model_folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    async with scheduler_process(model_folder, DATA_DIR=str(tmp_path)) as scheduler:
        assert (await scheduler.answers("/readyz")).json() == {"status": "ready"}
        scheduler.process.send_signal(number)
        code, lines = await scheduler.ended()
    assert code == 0, lines
    events = [line["event"] for line in lines]
    assert events.index("redis_started") < events.index("serving") < events.index("stopped")
    [redis_port] = [int(str(line["port"])) for line in lines if line["event"] == "redis_started"]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", redis_port)


@pytest.mark.e2e
async def test_the_api_is_served_over_tls_where_it_has_a_certificate(model_folder: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    identity = authority.issue("127.0.0.1")
    files = {"TLS_CERT_FILE": str(identity.cert_file), "TLS_KEY_FILE": str(identity.key_file)}
    async with scheduler_process(model_folder, DATA_DIR=str(tmp_path), **files) as scheduler:
        # Whoever speaks no TLS to it is hung up on; once that happens it is there.
        with pytest.raises(httpx.TransportError):
            await scheduler.answers()
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            answer = await http.get(f"{scheduler.url.replace('http', 'https', 1)}/healthz")
    assert answer.json()["status"] == "alive"


@pytest.mark.e2e
async def test_what_was_acknowledged_is_there_after_a_kill(model_folder: Path, tmp_path: Path) -> None:
    pool = {"name": "sums", "tokenizer": str(model_folder), "reward": "exact"}
    async with scheduler_process(model_folder, DATA_DIR=str(tmp_path)) as scheduler:
        await scheduler.answers()
        # The first pool imports the tokenizers' library.
        async with httpx.AsyncClient(base_url=scheduler.url, trust_env=False, timeout=DEADLINE_S) as http:
            assert (await http.post("/v1/pools", json=pool)).status_code == 201
        scheduler.process.kill()
        await scheduler.ended()
    async with scheduler_process(model_folder, DATA_DIR=str(tmp_path)) as successor:
        assert [pool["name"] for pool in (await successor.answers("/v1/pools")).json()["pools"]] == ["sums"]


@pytest.mark.e2e
async def test_a_scheduler_whose_run_was_taken_over_ends_with_a_failure(
    model_folder: Path, redis: Redis, redis_url: str
) -> None:
    # An engine that has died while health still answers would look alive for ever.
    await add_pool(PoolStore(redis), model_folder)
    run = await RunStore(redis).create(make_config(), now=1.0)
    keys = RunKeys(run.run_id)
    async with scheduler_process(model_folder, REDIS_URL=redis_url, LEASE_TTL_S="4") as scheduler:
        await scheduler.answers()
        await _held(redis, keys)
        await redis.delete(keys.lease_alive)
        await Lease.acquire(redis, keys, holder="successor", ttl_s=60.0)
        code, lines = await scheduler.ended()
    assert code == 1
    # Whichever noticed first: the renewal of the lease, or a change that the fence refused.
    [failed] = [line for line in lines if line["event"] == "failed"]
    assert failed["kind"] == "FenceLost"
    assert run.run_id in str(failed["error"])


@pytest.mark.e2e
@pytest.mark.timeout(120)
async def test_a_scheduler_whose_redis_stays_away_ends_with_a_failure_that_says_so(
    model_folder: Path, tmp_path: Path
) -> None:
    async with AsyncExitStack() as redis:
        url = await redis.enter_async_context(embedded_redis.running(tmp_path))
        async with scheduler_process(model_folder, REDIS_URL=url) as scheduler:
            assert (await scheduler.answers("/readyz")).is_success
            await redis.aclose()
            code, lines = await scheduler.ended()
    assert code == 1
    assert [line["kind"] for line in lines if line["event"] == "failed"] == ["ConnectionError"]


@pytest.mark.e2e
async def test_a_taken_port_ends_the_process_with_a_failure(model_folder: Path, tmp_path: Path) -> None:
    async with scheduler_process(model_folder, DATA_DIR=str(tmp_path / "first")) as first:
        await first.answers()
        port = first.url.rpartition(":")[2]
        async with scheduler_process(model_folder, DATA_DIR=str(tmp_path / "second"), PORT=port) as second:
            code, lines = await second.ended()
    assert code
    assert any("address already in use" in str(line["event"]) for line in lines), lines
