"""One atomic state change: whole or not at all, under the fence, at most once, never below zero or beyond a limit."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from scheduler.core.errors import BudgetExhausted, Conflict, FenceLost, IllegalMove
from scheduler.core.ledger import Ledger, Move, OpenState, Outcome
from scheduler.core.types import Stage
from scheduler.state.connection import connect
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction, Transactor
from tests.scheduler.state.lossy_link import lossy_link
from tests.scheduler.state.stores import Stores, snapshot

KEYS = RunKeys("run")
REFUSAL = Conflict("not so")
REFUSALS = {"there": Conflict("it is"), "not there": REFUSAL}
on_redis = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

CHECKS: list[tuple[str, Callable[[Transaction], None], Callable[[Transaction], None]]] = [
    (
        "ranked",
        lambda change: change.require_ranked(KEYS.ready, ["there"], REFUSALS.__getitem__),
        lambda change: change.require_ranked(KEYS.ready, ["there", "not there"], REFUSALS.__getitem__),
    ),
    (
        "taken",
        lambda change: change.take_ranked(KEYS.ready, ["there"], REFUSALS.__getitem__),
        lambda change: change.take_ranked(KEYS.ready, ["there", "not there"], REFUSALS.__getitem__),
    ),
    (
        "field",
        lambda change: change.require_field(KEYS.meta, "there", REFUSAL),
        lambda change: change.require_field(KEYS.meta, "not there", REFUSAL),
    ),
    (
        "no field",
        lambda change: change.require_no_field(KEYS.meta, "not there", REFUSAL),
        lambda change: change.require_no_field(KEYS.meta, "there", REFUSAL),
    ),
    (
        "equal",
        lambda change: change.require_equal(KEYS.meta, "there", "so", REFUSAL),
        lambda change: change.require_equal(KEYS.meta, "there", "otherwise", REFUSAL),
    ),
    (
        "equal to nothing",
        lambda change: change.require_equal(KEYS.meta, "not there", "", REFUSAL),
        lambda change: change.require_equal(KEYS.meta, "not there", "so", REFUSAL),
    ),
]


@pytest.fixture
def transactor(stores: Stores) -> Transactor:
    return stores.transactor


async def prepare(redis: Redis) -> None:
    await redis.zadd(KEYS.ready, {"there": 1.0})
    await redis.hset(KEYS.meta, "there", "so")


def full_change(transactor: Transactor) -> Transaction:
    """A change with counters, moves and operations."""
    change = transactor.begin()
    change.move(Move(stage=Stage.PILOT, source=None, to=OpenState.IN_FLIGHT, count=3))
    change.count("considered", 1)
    change.run("HSET", KEYS.meta, "state", "running")
    change.run("ZADD", KEYS.ready, 2.5, "p")
    return change


@pytest.mark.parametrize(("name", "holds", "fails"), CHECKS, ids=[name for name, _, _ in CHECKS])
async def test_a_refused_check_changes_nothing_and_raises_its_own_error(
    redis: Redis,
    transactor: Transactor,
    name: str,
    holds: Callable[[Transaction], None],
    fails: Callable[[Transaction], None],
) -> None:
    await prepare(redis)
    before = await snapshot(redis)
    refused = full_change(transactor)
    holds(refused)
    fails(refused)
    with pytest.raises(Conflict) as refusal:
        await transactor.apply(refused)
    assert refusal.value is REFUSAL
    assert await snapshot(redis) == before


@pytest.mark.parametrize(("name", "holds", "fails"), CHECKS, ids=[name for name, _, _ in CHECKS])
async def test_a_change_whose_checks_hold_is_applied_whole(
    redis: Redis,
    transactor: Transactor,
    name: str,
    holds: Callable[[Transaction], None],
    fails: Callable[[Transaction], None],
) -> None:
    await prepare(redis)
    change = full_change(transactor)
    holds(change)
    await transactor.apply(change)
    assert await redis.hgetall(KEYS.ledger) == {b"attempts:pilot": b"3", b"pilot:in_flight": b"3", b"considered": b"1"}
    assert await redis.hget(KEYS.meta, "state") == b"running"
    assert await redis.zscore(KEYS.ready, "p") == 2.5


async def test_the_first_check_that_fails_is_the_one_that_is_raised(redis: Redis, transactor: Transactor) -> None:
    await prepare(redis)
    change = transactor.begin()
    change.require_field(KEYS.meta, "there", Conflict("holds"))
    change.require_no_field(KEYS.meta, "there", REFUSAL)
    change.require_field(KEYS.meta, "not there", Conflict("too late"))
    with pytest.raises(Conflict) as refusal:
        await transactor.apply(change)
    assert refusal.value is REFUSAL


async def test_a_counter_never_goes_below_zero_and_takes_the_whole_change_with_it(
    redis: Redis, transactor: Transactor
) -> None:
    first = transactor.begin()
    first.count("reserved:rollouts", 4)
    await transactor.apply(first)
    before = await snapshot(redis)
    change = full_change(transactor)
    change.count("reserved:rollouts", -5)
    with pytest.raises(IllegalMove, match="reserved:rollouts would go below zero"):
        await transactor.apply(change)
    assert await snapshot(redis) == before


async def test_only_the_sum_of_a_change_counts_against_zero(redis: Redis, transactor: Transactor) -> None:
    change = transactor.begin()
    change.count("held", -2)
    change.count("held", 3)
    change.move(
        Move(stage=Stage.PILOT, source=OpenState.PUBLISHED, to=OpenState.APPLIED, count=2),
        Move(stage=Stage.PILOT, source=OpenState.APPLIED, to=OpenState.PUBLISHED, count=2),
    )
    await transactor.apply(change)
    assert await redis.hgetall(KEYS.ledger) == {b"held": b"1"}


async def test_attempts_that_are_not_there_cannot_be_moved(redis: Redis, transactor: Transactor) -> None:
    change = transactor.begin()
    change.move(Move(stage=Stage.COMMIT, source=OpenState.IN_FLIGHT, to=Outcome.LOST, count=1))
    with pytest.raises(IllegalMove, match="commit:in_flight"):
        await transactor.apply(change)
    assert Ledger.from_counters({}).is_balanced
    assert not await redis.exists(KEYS.ledger)


@pytest.mark.parametrize(("add", "fits"), [(3, True), (4, False)])
async def test_a_limit_can_be_reached_and_not_passed(
    redis: Redis, transactor: Transactor, add: int, fits: bool
) -> None:
    await redis.hset(KEYS.ledger, mapping={"spent": 4, "reserved": 3})
    change = transactor.begin()
    change.require_limit(("spent", "reserved"), add, 10)
    change.count("reserved", add)
    if fits:
        await transactor.apply(change)
        assert await redis.hget(KEYS.ledger, "reserved") == b"6"
    else:
        with pytest.raises(BudgetExhausted, match="would exceed 10"):
            await transactor.apply(change)
        assert await redis.hget(KEYS.ledger, "reserved") == b"3"


async def test_without_a_limit_nothing_is_too_much(redis: Redis, transactor: Transactor) -> None:
    change = transactor.begin()
    change.require_limit(("spent",), 10**12, None)
    change.count("spent", 10**12)
    await transactor.apply(change)
    assert await redis.hget(KEYS.ledger, "spent") == b"1000000000000"


async def test_a_change_applied_again_is_applied_once(redis: Redis, transactor: Transactor) -> None:
    change = full_change(transactor)
    change.require_no_field(KEYS.meta, "state", REFUSAL)
    await transactor.apply(change)
    before = await snapshot(redis)
    await transactor.apply(change)
    assert await snapshot(redis) == before


async def test_a_change_whose_answer_is_lost_is_applied_once(redis: Redis, redis_url: str, stores: Stores) -> None:
    async with lossy_link(redis_url) as (link, url):
        distant = connect(url)
        transactor = Transactor(distant, KEYS, stores.lease.fence)
        await transactor.apply(full_change(transactor))
        link.lose_next_answer()
        await transactor.apply(full_change(transactor))
        await distant.aclose()
    assert link.lost == 1
    assert await redis.hget(KEYS.ledger, "attempts:pilot") == b"6"


async def test_a_refused_change_can_be_applied_once_its_reason_is_gone(redis: Redis, transactor: Transactor) -> None:
    change = full_change(transactor)
    change.require_field(KEYS.meta, "there", REFUSAL)
    with pytest.raises(Conflict):
        await transactor.apply(change)
    await prepare(redis)
    await transactor.apply(change)
    assert await redis.hget(KEYS.meta, "state") == b"running"


async def test_nobody_writes_under_an_older_fence(redis: Redis, stores: Stores) -> None:
    await stores.succeeded_by()
    before = await snapshot(redis)
    with pytest.raises(FenceLost, match="fence 1"):
        await stores.transactor.apply(full_change(stores.transactor))
    assert await snapshot(redis) == before


async def test_a_change_made_in_time_is_confirmed_to_a_holder_that_lost_its_fence_since(stores: Stores) -> None:
    change = full_change(stores.transactor)
    await stores.transactor.apply(change)
    await stores.succeeded_by()
    await stores.transactor.apply(change)


async def test_an_operator_writes_without_a_fence_while_others_hold_it(redis: Redis, stores: Stores) -> None:
    unfenced = Transactor(redis, KEYS, None)
    await unfenced.apply(full_change(unfenced))
    assert await redis.hget(KEYS.meta, "state") == b"running"


async def test_what_guards_against_a_replay_is_forgotten_after_a_while(redis: Redis, transactor: Transactor) -> None:
    change = full_change(transactor)
    await transactor.apply(change)
    assert 0 < await redis.ttl(KEYS.done(change.transaction_id)) <= 300


async def test_every_key_that_a_change_touches_is_declared_with_the_tag_of_its_run(transactor: Transactor) -> None:
    change = full_change(transactor)
    change.require_field(KEYS.visits, "v", REFUSAL)
    change.require_limit(("spent",), 1, 1)
    declared, _ = change.script_arguments(1)
    assert {KEYS.ready, KEYS.meta, KEYS.visits, KEYS.ledger} <= set(declared)
    assert all("{run:run}" in key for key in declared)


@on_redis
@given(st.binary() | st.text() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
async def test_an_operand_of_every_type_arrives_as_it_is(redis: Redis, operand: bytes | str | int | float) -> None:
    transactor = Transactor(redis, RunKeys("operands"), None)
    change = transactor.begin()
    change.run("HSET", transactor.keys.meta, "field", operand)
    await transactor.apply(change)
    stored = await redis.hget(transactor.keys.meta, "field")
    assert stored is not None
    if isinstance(operand, bytes | str):
        assert stored == (operand if isinstance(operand, bytes) else operand.encode())
    else:
        assert type(operand)(stored) == operand


@on_redis
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(-5, 5), min_size=1), max_size=8))
async def test_counters_are_changed_together_or_not_at_all(redis: Redis, changes: list[dict[str, int]]) -> None:
    transactor = Transactor(redis, RunKeys("counters"), None)
    await redis.delete(transactor.keys.ledger)
    model: Counter[str] = Counter()
    for deltas in changes:
        change = transactor.begin()
        for name, delta in deltas.items():
            change.count(name, delta)
        after = {name: model[name] + deltas.get(name, 0) for name in "abc"}
        if min(after.values()) < 0:
            with pytest.raises(IllegalMove):
                await transactor.apply(change)
        else:
            await transactor.apply(change)
            model = Counter(after)
        found = await redis.hgetall(transactor.keys.ledger)
        assert {name: int(found.get(name.encode(), 0)) for name in "abc"} == {name: model[name] for name in "abc"}
