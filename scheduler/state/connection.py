"""The connection to Redis.

Owns: how we connect, and what we demand of the server. Never reads or writes a run or a pool.
Invariant: a server that may evict our keys, that holds another schema version or only a part of the keys, is refused at
start.
"""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from scheduler.core.errors import SchemaMismatch, StateError
from scheduler.state import keys
from scheduler.state.repaired import repaired
from scheduler.state.survey import eviction_fault, schema_fault, setting
from scheduler.state.topology import topology_fault
from scheduler.state.wire import text

SILENCES = (ConnectionError, TimeoutError)
"""What a call raises when Redis does not answer, retries included."""


def connect(url: str, *, max_connections: int = 64, socket_timeout_s: float = 10.0) -> "Redis":
    """A client whose every state change may be retried, because each is applied at most once.

    The pool blocks at its limit instead of raising, since hundreds of visits share it.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=socket_timeout_s,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=5.0,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=2.0), retries=8),
        retry_on_error=[ConnectionError, TimeoutError],
    )
    pool.connection_class = repaired(pool.connection_class)
    return Redis.from_pool(pool)


async def check(redis: "Redis") -> None:
    """Refuse a server that is away, holds a part of the keys only, or may lose our data.

    Raises StateError or SchemaMismatch with what to change.
    """
    silence = await why_silent(redis)
    if silence:
        raise StateError(f"{silence}; name another one with redis_url, or `embedded` for a private one")
    if fault := await topology_fault(redis):
        raise StateError(fault)
    if fault := eviction_fault(await setting(redis, "maxmemory-policy")):
        raise SchemaMismatch(fault)
    await redis.set(keys.SCHEMA, keys.SCHEMA_VERSION, nx=True)
    if fault := schema_fault(text(await redis.get(keys.SCHEMA))):
        raise SchemaMismatch(fault)


async def why_silent(redis: "Redis") -> str:
    """Empty if Redis answers, else why it does not."""
    try:
        await redis.ping()
    except SILENCES as error:
        return f"Redis does not answer: {error}"
    except ResponseError as error:
        return f"Redis refuses to answer: {str(error).partition('. ')[0]}"
    return ""


__all__ = ["SILENCES", "Redis", "check", "connect", "why_silent"]
