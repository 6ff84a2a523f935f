"""The lease on a run: one holder, proved by a fence that only grows."""

import time
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from scheduler.core.errors import Conflict, FenceLost
from scheduler.core.ledger import Outcome
from scheduler.core.lifecycle import PromptState, RunState
from scheduler.core.types import Stage
from scheduler.state.evaluations import EvaluationLanding, EvaluationRecord, Measured
from scheduler.state.groups import Attachment, GroupEntry
from scheduler.state.keys import RunKeys
from scheduler.state.leases import Lease
from scheduler.state.visit import Landing, Visit
from tests.scheduler.state.stores import Stores, make_config, make_row, make_weights, snapshot

KEYS = RunKeys("run")
EVALUATION = EvaluationRecord(
    evaluation_id="eval", pool="held-out", num_rollouts=1, num_prompts=1, created_at=1.0, results={}
)
WRITES: dict[str, Callable[[Stores, Visit, GroupEntry], Awaitable[object]]] = {
    "claim": lambda s, v, g: s.claim("ready"),
    "extend": lambda s, v, g: s.visits.extend(v, 1),
    "launch": lambda s, v, g: s.visits.launch(v, Stage.PILOT, 1),
    "land": lambda s, v, g: s.visits.land(v, Landing(stage=Stage.PILOT), held=()),
    "resume": lambda s, v, g: s.visits.resume(v, fence=s.lease.fence),
    "settle": lambda s, v, g: s.settle(v),
    "publish": lambda s, v, g: s.publish(v),
    "form_batch": lambda s, v, g: s.groups.form_batch(1, [g]),
    "drop": lambda s, v, g: s.groups.drop([g], Outcome.EXPIRED, now=1.0, version=1),
    "applied": lambda s, v, g: s.groups.applied(
        [g], {}, incarnation="learner", step=1, weights=make_weights(1), now=1.0
    ),
    "checkpointed": lambda s, v, g: s.groups.checkpointed([], incarnation="learner", step=1, now=1.0),
    "attach": lambda s, v, g: s.groups.attach([g], Attachment(incarnation="new", step=0), now=1.0, version=0),
    "announce": lambda s, v, g: s.versions.announce(make_weights(1)),
    "update weights": lambda s, v, g: s.versions.update(make_weights(1), live=True),
    "put evaluation": lambda s, v, g: s.evaluations.put(EVALUATION),
    "launch evaluation": lambda s, v, g: s.evaluations.launch(1),
    "land evaluation": lambda s, v, g: s.evaluations.land(
        EVALUATION,
        "p",
        Measured(correct=0, judged=0),
        EvaluationLanding(judged=0, failed=0, lost=0, tokens=0, prompt_tokens=0),
    ),
    "lose evaluations in flight": lambda s, v, g: s.evaluations.lose_in_flight(),
    "change state": lambda s, v, g: s.runs.change_state(
        s.transactor, RunState.QUEUED, RunState.PAUSED, reason="r", now=1.0
    ),
    "note": lambda s, v, g: s.runs.note(s.transactor, started_at=1.0),
    "seed prompts": lambda s, v, g: s.seed("new"),
    "return due": lambda s, v, g: s.table.return_due(s.transactor, 9),
    "return earliest": lambda s, v, g: s.table.return_earliest(s.transactor, 1),
    "reinstate": lambda s, v, g: s.table.reinstate(s.transactor, "waiting", now=1.0, version=1),
    "pass over": lambda s, v, g: s.pass_over("ready"),
}


async def test_a_lease_is_refused_while_its_holder_lives(redis: Redis) -> None:
    await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    with pytest.raises(Conflict, match="held by another scheduler"):
        await Lease.acquire(redis, KEYS, holder="second", ttl_s=60.0)
    assert await redis.hget(KEYS.lease, "holder") == b"first"
    assert await redis.hget(KEYS.lease, "fence") == b"1"


async def test_a_refused_lease_leaves_its_holder_undisturbed(redis: Redis) -> None:
    lease = await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    with pytest.raises(Conflict):
        await Lease.acquire(redis, KEYS, holder="second", ttl_s=60.0)
    await lease.renew()


async def test_a_lease_can_be_taken_once_it_has_run_out(redis: Redis) -> None:
    first = await Lease.acquire(redis, KEYS, holder="first", ttl_s=0.05)
    deadline, second = time.monotonic() + 20.0, None
    while second is None:
        assert time.monotonic() < deadline
        try:
            second = await Lease.acquire(redis, KEYS, holder="second", ttl_s=60.0)
        except Conflict:
            continue
    assert second.fence > first.fence
    with pytest.raises(FenceLost, match="another scheduler took the lease"):
        await first.renew()


async def test_a_released_lease_can_be_taken_at_once(redis: Redis) -> None:
    first = await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    await first.release()
    second = await Lease.acquire(redis, KEYS, holder="second", ttl_s=60.0)
    assert second.fence > first.fence


async def test_a_renewed_lease_lives_on(redis: Redis) -> None:
    lease = await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    await redis.pexpire(KEYS.lease_alive, 5_000)
    await lease.renew()
    assert await redis.pttl(KEYS.lease_alive) > 5_000
    assert await redis.get(KEYS.lease_alive) == b"first"


async def test_a_lease_that_ran_out_and_that_nobody_took_can_still_be_renewed(redis: Redis) -> None:
    lease = await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    await redis.delete(KEYS.lease_alive)
    await lease.renew()
    with pytest.raises(Conflict):
        await Lease.acquire(redis, KEYS, holder="second", ttl_s=60.0)


async def test_a_former_holder_cannot_release_its_successors_lease(redis: Redis) -> None:
    first = await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    await redis.delete(KEYS.lease_alive)
    await Lease.acquire(redis, KEYS, holder="second", ttl_s=60.0)
    await first.release()
    with pytest.raises(Conflict):
        await Lease.acquire(redis, KEYS, holder="third", ttl_s=60.0)


async def test_a_fence_only_grows_even_for_the_same_holder(redis: Redis) -> None:
    fences = []
    for holder in ("first", "first", "second", "first"):
        lease = await Lease.acquire(redis, KEYS, holder=holder, ttl_s=60.0)
        fences.append(lease.fence)
        if holder == "second" or len(fences) == 2:
            await lease.release()
    assert fences == [1, 2, 3, 4]


async def test_runs_are_held_apart(redis: Redis) -> None:
    await Lease.acquire(redis, KEYS, holder="first", ttl_s=60.0)
    other = await Lease.acquire(redis, RunKeys("other"), holder="second", ttl_s=60.0)
    assert other.fence == 1


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_after_a_successor_took_over_every_write_of_the_predecessor_is_refused(
    redis: Redis, stores: Stores, write: Callable[[Stores, Visit, GroupEntry], Awaitable[object]]
) -> None:
    await stores.runs.create(make_config(), now=1.0, run_id="run")
    entry = await stores.make_group("grouped")
    await stores.seed("waiting", "ready", "p")
    await stores.settle(
        await stores.claim("waiting"), state=PromptState.WAITING, what="defer", row=make_row(next_version=3)
    )
    visit = await stores.ask(await stores.claim("p"), Stage.PILOT, 2)
    await stores.attach("learner")
    await stores.succeeded_by()
    before = await snapshot(redis)
    with pytest.raises(FenceLost):
        await write(stores, visit, entry)
    assert await snapshot(redis) == before


async def test_the_successor_can_do_what_its_predecessor_no_longer_can(stores: Stores) -> None:
    await stores.seed("p")
    visit = await stores.ask(await stores.claim("p"), Stage.PILOT, 2)
    successor = await stores.succeeded_by()
    resumed = await successor.visits.resume(visit, fence=successor.lease.fence)
    await successor.settle(resumed)
    await successor.audit()
