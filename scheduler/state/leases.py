"""The lease on a run: one scheduler incarnation holds it, proved by a fence.

Owns: acquiring, renewing and releasing. Never does work under it. Invariant: a fence only grows, and every state change
of the run checks it, so a holder that was paused too long cannot write after its successor began.
"""

from redis.asyncio import Redis

from scheduler.core.errors import Conflict, FenceLost
from scheduler.state.keys import RunKeys
from scheduler.state.wire import text

_ACQUIRE = """
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return redis.call('HINCRBY', KEYS[1], 'fence', 1)
"""
_RENEW = """
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], redis.call('HGET', KEYS[1], 'holder'), 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('HGET', KEYS[1], 'fence') == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
return 1
"""


async def holder_of(redis: "Redis", run_keys: RunKeys) -> str:
    """The incarnation whose lease on the run has not run out; empty if there is none."""
    found = await redis.get(run_keys.lease_alive)
    return "" if found is None else text(found)


async def was_held(redis: "Redis", run_keys: RunKeys) -> bool:
    """Whether any scheduler has ever had the run's lease, be that alive or not: fences are never forgotten."""
    return bool(await redis.exists(run_keys.lease))


class Lease:
    """A held lease; `fence` proves it."""

    def __init__(self, redis: "Redis", run_keys: RunKeys, *, fence: int, ttl_s: float) -> None:
        self._redis = redis
        self._keys = [run_keys.lease, run_keys.lease_alive]
        self.run_id = run_keys.run_id
        self.fence = fence
        self.ttl_s = ttl_s

    @classmethod
    async def acquire(cls, redis: "Redis", run_keys: RunKeys, *, holder: str, ttl_s: float) -> "Lease":
        """Take the lease if nobody alive holds it; raises Conflict while another holder's has not run out."""
        script = redis.register_script(_ACQUIRE)
        fence = await script(keys=[run_keys.lease, run_keys.lease_alive], args=[holder, int(ttl_s * 1000)])
        if not fence:
            raise Conflict(f"run {run_keys.run_id} is held by another scheduler; its lease runs out within {ttl_s:g} s")
        return cls(redis, run_keys, fence=int(fence), ttl_s=ttl_s)

    async def renew(self) -> None:
        """Extend the lease by its time to live; raises FenceLost if another incarnation took it."""
        script = self._redis.register_script(_RENEW)
        if not await script(keys=self._keys, args=[self.fence, int(self.ttl_s * 1000)]):
            raise FenceLost(f"run {self.run_id}: another scheduler took the lease")

    async def release(self) -> None:
        """Let a successor start at once."""
        script = self._redis.register_script(_RELEASE)
        await script(keys=self._keys, args=[self.fence])
