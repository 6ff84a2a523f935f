"""The scheduler process.

Owns: what is built from the settings, in which order it starts and stops. Invariant: a long loop that ends unasked ends
the process with a non-zero code; a stop lets what is in flight come back before the lease is released.
"""

import asyncio
import gc
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import uvicorn
from pydantic import SecretStr

from inference.client import ServerClient
from inference.gateway import Gateway
from scheduler import embedded_redis, event_loop, logs
from scheduler.api.app import create_app
from scheduler.broadcast import BroadcastSettings
from scheduler.core.errors import InvalidInput, PilotCommitError
from scheduler.core.path_map import PathMap
from scheduler.core.roll_out import RollOut
from scheduler.destinations import destination
from scheduler.engine.assembly import EngineSettings
from scheduler.engine.delivery import DeliverySettings
from scheduler.fleet import ExpectedModel, Fleet, Traits
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.reward_servers import RewardServers
from scheduler.servers_file import ServersFile
from scheduler.service import Service
from scheduler.settings import EMBEDDED, Settings, load_settings
from scheduler.state.connection import SILENCES, check, connect
from scheduler.token_file import TokenFile
from scheduler.tokenizers import model_limits

log = structlog.get_logger(__name__)

_YOUNG_OBJECTS = 1_000_000
"""More objects than before after which the garbage collector looks; Python's own is 700, and hundreds of attempts in
flight are a hundred thousand."""


@asynccontextmanager
async def build_service(settings: Settings) -> AsyncIterator[Service]:
    """The service with everything it owns, closed in reverse order."""
    async with AsyncExitStack() as stack:
        url = settings.redis_url
        if url == EMBEDDED:
            url = await stack.enter_async_context(embedded_redis.running(settings.data_dir / "redis"))
        redis = connect(url)
        stack.push_async_callback(redis.aclose)
        await check(redis)
        limits = model_limits(settings.model)
        described = ServersFile(path=settings.servers_file)

        def client_of(url: str, address: str | None = None) -> ServerClient:
            own = described.of(url)
            return ServerClient(
                url,
                limits,
                api_key=own.api_key or _revealed(settings.api_key),
                admin_api_key=own.admin_api_key or _revealed(settings.admin_api_key),
                max_connections=settings.max_in_flight,
                tls=own.tls.over(settings.server_tls).context(),
                address=address,
            )

        async def client_of_named(url: str) -> ServerClient:
            return client_of(url, await destination(url, settings.destinations, field="url"))

        def traits_of(url: str) -> Traits:
            own = described.of(url)
            return Traits(labels=own.labels, paths=own.paths)

        async def gateway_of(url: str) -> Gateway:
            own = described.of(url)
            return Gateway(
                url,
                key=own.api_key or _revealed(settings.api_key),
                tls=own.tls.over(settings.server_tls).context(),
                address=await destination(url, settings.destinations, field="url"),
            )

        fleet = Fleet(
            (),
            capacity_per_server=settings.max_in_flight,
            probe_interval_s=settings.probe_interval_s,
            model=ExpectedModel.read(settings.model),
        )
        stack.push_async_callback(fleet.aclose)
        reward_servers = RewardServers(
            listed=settings.reward_servers,
            key=_revealed(settings.reward_server_api_key),
            reachable=settings.destinations,
            terms=settings.reward_server_terms,
            tls=settings.reward_server_tls.context(),
        )
        rewards = RewardPool(settings.num_reward_workers, confinement=settings.confinement, servers=reward_servers)
        await rewards.start()
        stack.push_async_callback(rewards.close)
        engine_settings = EngineSettings(
            pilot_cap=settings.pilot_cap,
            stall_s=settings.stall_s,
            completions_kept_bytes=settings.completions_kept_mib << 20,
            drain_s=settings.drain_s,
            roll_out=RollOut(order=settings.roll_out, share=settings.roll_out_share),
            paths=PathMap(settings.path_map),
            delivery=DeliverySettings(heartbeat_s=settings.heartbeat_s),
            broadcast=BroadcastSettings(step_s=settings.broadcast_step_s),
        )
        service = Service(
            redis,
            fleet,
            rewards,
            engine_settings,
            connect=client_of,
            connect_named=client_of_named,
            connect_gateway=gateway_of,
            describe=traits_of,
            servers=settings.servers,
            lease_ttl_s=settings.lease_ttl_s,
            model=settings.model,
            weight_roots=settings.weight_roots,
        )
        await service.roster.load()
        yield service


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


async def serve(settings: Settings) -> None:
    """Run until a signal; raises what a long loop raised."""
    # uvicorn raises the signal again once it has shut down: without these the engine would never get to stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    async with build_service(settings) as service, asyncio.TaskGroup() as tasks:
        config = uvicorn.Config(
            create_app(
                service,
                tokens=TokenFile(settings.tokens_file) if settings.tokens_file else None,
                importable=settings.imports,
                rate=settings.rate,
            ),
            host=settings.host,
            port=settings.port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            ssl_certfile=settings.tls_cert_file,
            ssl_keyfile=settings.tls_key_file,
            ssl_ca_certs=str(settings.tls_client_ca_file) if settings.tls_client_ca_file else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca_file else ssl.CERT_NONE,
        )
        loops = [
            tasks.create_task(service.fleet.watch(), name="fleet-watch"),
            tasks.create_task(service.roster.run(), name="fleet-roster"),
            tasks.create_task(service.conductor.conduct(), name="conduct"),
        ]
        log.info("serving", host=settings.host, port=settings.port, servers=settings.servers)
        await uvicorn.Server(config).serve()
        await service.conductor.quiesce(grace_s=settings.stop_grace_s)
        for loop in loops:
            loop.cancel()
    log.info("stopped")


def main(argv: Sequence[str] | None = None) -> int:
    """Start the scheduler; settings come from the environment.

    The exit code is 0 after a signal, 2 for a setting that cannot work, another one if it could not go on.
    """
    if argv if argv is not None else sys.argv[1:]:
        sys.stderr.write("the scheduler takes its settings from PILOTCOMMIT_* variables; see docs/configuration.md\n")
        return 2
    try:
        settings = load_settings(os.environ)
    except InvalidInput as error:
        sys.stderr.write(f"scheduler: {error}\n")
        return 2
    logs.configure(settings.log_level)
    code = 0
    try:
        _spare_the_collector()
        event_loop.run(serve(settings))
    except* (PilotCommitError, *SILENCES) as errors:
        for failure in _leaves(errors):
            log.error("failed", kind=type(failure).__name__, error=str(failure))
        code = 1
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What really went wrong: each task group on the way up has wrapped it once more."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _spare_the_collector() -> None:
    """Have Python look for garbage in cycles only where a million objects have come to stay, and never among modules.

    An attempt makes a few hundred objects that live as long as it does, none of them in a cycle: with hundreds in
    flight a look finds nothing and holds up every visit, for 15 to 300 milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


if __name__ == "__main__":
    sys.exit(main())
