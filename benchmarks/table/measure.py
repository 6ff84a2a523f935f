"""What the informativeness table costs: claims, bytes, uploads.

Owns: filling tables of several sizes, and what is timed. Invariants: everything timed is the code that a run executes,
on a Redis that syncs every write to its disk; filling is not timed, and gives every prompt what visits would have.
"""

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from math import log2
from pathlib import Path
from statistics import median, quantiles

import msgspec

from benchmarks.figures import Figure, Sense
from benchmarks.session import Findings, Say
from scheduler.core.allocators.orders import sample_size
from scheduler.core.budget import Budget
from scheduler.core.informativeness import Belief, Evidence, PilotCount, RewardMoments
from scheduler.core.types import Prompt, Verdict
from scheduler.embedded_redis import running
from scheduler.prompts import PromptReader
from scheduler.rewards.spec import parse_spec
from scheduler.state.connection import Redis, connect
from scheduler.state.keys import PoolKeys, RunKeys
from scheduler.state.leases import Lease
from scheduler.state.pools import PoolStore
from scheduler.state.row import Event, Row
from scheduler.state.table import HISTORY_LENGTH, Table, claim_order
from scheduler.state.transaction import Transactor
from scheduler.state.visit import Visit
from scheduler.state.visits import VisitStore
from scheduler.tokenizers import Tokenizer, Tokenizers
from tests.tiny_model import write_tiny_model

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
CLAIM, CLAIMS = 384, 100
"""Prompts of one claim, and how often it is made."""
_GROUP, _MAX_NEW_TOKENS = 64, 2048
_PAGE = 5_000
_UPLOAD = 100_000
_SHARED = 512
"""Prompts whose histories are filled to their cap."""
_SEED = 0


async def measure(sizes: tuple[int, ...], folder: Path, say: Say) -> Findings:
    """Every size on a Redis of its own."""
    figures: list[Figure] = []
    raw: dict[str, list[float]] = {}
    for size in sizes:
        async with running(folder / str(size)) as url:
            redis = connect(url)
            try:
                found = await _one_size(redis, size, say)
            finally:
                await redis.aclose()
        raw |= {f"{what}, {size:,} prompts": samples for what, samples in found.items()}
    figures += _claim_figures(raw, sizes)
    figures += _size_figures(raw, sizes)
    async with running(folder / "upload") as url:
        redis = connect(url)
        try:
            uploaded = await _upload(redis, folder, min(_UPLOAD, sizes[-1]), say)
        finally:
            await redis.aclose()
    return [*figures, *uploaded], raw


def _claim_figures(raw: dict[str, list[float]], sizes: tuple[int, ...]) -> list[Figure]:
    figures = []
    for size in sizes:
        claims, looks = raw[f"claim ms, {size:,} prompts"], raw[f"look ms, {size:,} prompts"]
        figures.append(
            Figure(
                what=f"claim of {CLAIM} prompts out of {size:,}, p99",
                value=quantiles(claims, n=100)[-1],
                unit="ms",
                target=5.0,
                sense=Sense.AT_MOST,
                note=f"median {median(claims):.1f} ms; the look at candidates before it {median(looks):.1f} ms",
            )
        )
    first, last = (median(raw[f"claim ms, {size:,} prompts"]) for size in (sizes[0], sizes[-1]))
    figures.append(
        Figure(
            what=f"growth of a claim from {sizes[0]:,} to {sizes[-1]:,} prompts",
            value=last / first,
            target=log2(sizes[-1]) / log2(sizes[0]),
            sense=Sense.AT_MOST,
            note="medians, against the ratio of the logarithms",
        )
    )
    return figures


def _size_figures(raw: dict[str, list[float]], sizes: tuple[int, ...]) -> list[Figure]:
    size = sizes[-1]
    [table], [history], [prompt] = (raw[f"{what} bytes, {size:,} prompts"] for what in ("table", "history", "pool"))
    return [
        Figure(
            what=f"table and indexes, {size:,} prompts",
            value=table,
            unit="bytes a prompt",
            target=600.0,
            sense=Sense.AT_MOST,
            note="growth of Redis's memory, every prompt visited",
        ),
        Figure(
            what="history at its cap",
            value=history,
            unit="bytes a prompt",
            note=f"{HISTORY_LENGTH} events each",
        ),
        Figure(what="pool itself", value=prompt, unit="bytes a prompt", note="id, text, ids of 32 tokens and answer"),
    ]


async def _one_size(redis: Redis, size: int, say: Say) -> dict[str, list[float]]:
    """Fill a run's table and a pool; samples by what they are of."""
    keys = RunKeys("bench")
    lease = await Lease.acquire(redis, keys, holder="bench", ttl_s=3600.0)
    transactor, table = Transactor(redis, keys, lease.fence), Table(redis, keys, seed=_SEED)
    # Filling is not what is measured.
    await redis.config_set("appendfsync", "no")
    before = await _memory(redis)
    await _fill_table(redis, keys, size, say)
    after = await _memory(redis)
    await _fill_pool(redis, min(size, 50_000))
    pool = await _memory(redis)
    await _fill_histories(transactor, table, min(size, _SHARED))
    history = await _memory(redis)
    await redis.config_set("appendfsync", "always")
    visits = VisitStore(redis, transactor, table, budget=Budget(rollouts=10**9), max_new_tokens=_MAX_NEW_TOKENS)
    claims, looks = await _claims(redis, keys, visits, table, lease.fence)
    say(f"{size:,} prompts: claim of {CLAIM} {median(claims):.2f} ms, {(after - before) / size:.0f} bytes a prompt")
    return {
        "claim ms": claims,
        "look ms": looks,
        "table bytes": [(after - before) / size],
        "pool bytes": [(pool - after) / min(size, 50_000)],
        "history bytes": [(history - pool) / min(size, _SHARED)],
    }


async def _claims(
    redis: Redis, keys: RunKeys, visits: VisitStore, table: Table, fence: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each claim, and of the look at candidates that goes before it."""
    claims, looks = [], []
    for number in range(CLAIMS):
        gc.collect()
        began = time.perf_counter()
        sample = await table.sample(sample_size(CLAIM))
        await table.rows(sample)
        looked = time.perf_counter()
        new = [
            Visit(visit_id=f"{number:08x}{index:08x}", prompt_id=prompt_id, fence=fence, reserved=_GROUP)
            for index, prompt_id in enumerate(sample[:CLAIM])
        ]
        ready = time.perf_counter()
        claimed = await visits.claim(new)
        claims.append(1e3 * (time.perf_counter() - ready))
        looks.append(1e3 * (looked - began))
        assert len(claimed.visits) == len(new)
        await _give_back(redis, keys, claimed.visits)
    return claims, looks


async def _give_back(redis: Redis, keys: RunKeys, opened: tuple[Visit, ...]) -> None:
    """Visits that never were: with few prompts the ready set would run dry."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hdel(keys.visits, *(visit.visit_id for visit in opened))
        pipe.zadd(keys.ready, {visit.prompt_id: claim_order(visit.prompt_id, 1, _SEED) for visit in opened})
        await pipe.execute()


async def _memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory_dataset"])


async def _fill_table(redis: Redis, keys: RunKeys, size: int, say: Say) -> None:
    """Every prompt visited, and back in the order of claims."""
    rows = [msgspec.msgpack.encode(row) for row in islice(_rows(), 4096)]
    chance, told = random.Random(_SEED), time.monotonic()
    for start in range(0, size, _PAGE):
        names = [_name(number) for number in range(start, min(size, start + _PAGE))]
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hset(keys.table, mapping={name: chance.choice(rows) for name in names})
            pipe.zadd(keys.ready, {name: claim_order(name, 1, _SEED) for name in names})
            await pipe.execute()
        if time.monotonic() - told > 10.0:
            say(f"filled {start + len(names):,} of {size:,} prompts")
            told = time.monotonic()


def _rows() -> Iterator[Row]:
    """Rows as a run's visits leave them."""
    chance = random.Random(_SEED)
    while True:
        version, visits = chance.randrange(1, 500), chance.randrange(1, 30)
        correct = chance.randrange(17)
        evidence = Evidence(
            belief=Belief(a=chance.uniform(0.3, 40.0), b=chance.uniform(0.3, 40.0), version=version),
            moments=RewardMoments(
                weight=chance.uniform(1, 64), mean=chance.random(), m2=chance.uniform(0, 16), version=version
            ),
            visits=visits,
            streak=chance.randrange(4),
            last_pilot=PilotCount(successes=correct, count=16, version=version),
            last_verdict=Verdict.SKIP,
            reason="too_easy",
            tokens_per_rollout=chance.uniform(100, 2000),
            num_pilots=16 * visits,
            num_commits=48 * (visits // 3),
            num_correct=correct * visits,
        )
        yield Row(evidence=evidence, next_version=version + chance.randrange(50))


def _name(number: int) -> str:
    return f"{number:016x}"


async def _fill_pool(redis: Redis, size: int) -> None:
    pools, chance = PoolStore(redis), random.Random(_SEED)
    for start in range(0, size, 1000):
        await pools.add(
            "bench",
            [
                Prompt(
                    prompt_id=_name(number),
                    input_ids=tuple(chance.randrange(1000, 50_000) for _ in range(32)),
                    text="x" * 120,
                    answer="42",
                )
                for number in range(start, min(size, start + 1000))
            ],
        )


async def _fill_histories(transactor: Transactor, table: Table, size: int) -> None:
    """Every history at its cap, as visits and groups leave it."""
    chance = random.Random(_SEED)
    for number in range(size):
        transaction = transactor.begin()
        for _ in range(HISTORY_LENGTH):
            event = Event(
                at=1.7e9 + chance.random(),
                version=chance.randrange(500),
                what="skip",
                reason="too_easy",
                pilots=16,
                correct=chance.randrange(17),
                visit_id=_name(chance.randrange(1 << 60)),
            )
            table.remember(transaction, _name(number), event)
        await transactor.apply(transaction)


# Uploads.


class _TimedTokenizer(Tokenizer):
    """A tokenizer that says how long it took."""

    __slots__ = ()
    seconds = 0.0

    def encode(self, text: str) -> tuple[int, ...]:
        began = time.perf_counter()
        found = super().encode(text)
        _TimedTokenizer.seconds += time.perf_counter() - began
        return found


async def _upload(redis: Redis, folder: Path, count: int, say: Say) -> list[Figure]:
    """Prompts as lines of NDJSON through the reader that the API uses."""
    plain = await Tokenizers().get(str(write_tiny_model(folder / "model")))
    tokenizer = _TimedTokenizer(plain.backend, plain.limits)
    reader = PromptReader(
        PoolStore(redis), "uploaded", tokenizer, parse_spec("exact"), max_prompt_tokens=plain.limits.context_length - 1
    )
    chance = random.Random(_SEED)
    lines = [
        msgspec.json.encode(
            {
                "id": f"p{number}",
                "text": f"What is {chance.randrange(1000)} plus {chance.randrange(1000)}?",
                "answer": "7",
            }
        )
        for number in range(count)
    ]

    async def body() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    began = time.perf_counter()
    report = await reader.read(body())
    seconds = time.perf_counter() - began
    assert report.added == count == await redis.hlen(PoolKeys("uploaded").prompts), report
    own = seconds - _TimedTokenizer.seconds
    say(f"uploaded {count:,} prompts in {seconds:.1f} s, {_TimedTokenizer.seconds:.1f} s of it tokenising")
    await asyncio.sleep(0)
    return [
        Figure(
            what="upload",
            value=count / own,
            unit="prompts/s",
            target=20_000.0,
            note=f"read, checked, stored and synced, without tokenising; with it {count / seconds:,.0f}",
        )
    ]
