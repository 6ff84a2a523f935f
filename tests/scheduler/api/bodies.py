"""Request bodies of the API: each test names only what it is about."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import msgspec

from scheduler.state.pools import PoolRecord, PoolStore

Json = dict[str, object]


def make_run(**changes: object) -> Json:
    """A small run over the pool `sums`."""
    return {"pool": "sums", "batch_size": 2, "sampling": {"max_new_tokens": 8}, **changes}


def ndjson(lines: Iterable[Mapping[str, object]]) -> bytes:
    """Lines of prompts as they are uploaded."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


async def add_pool(pools: PoolStore, folder: Path, *, name: str = "sums", max_prompt_tokens: int = 64) -> PoolRecord:
    """A pool as the API would have created it, without a worker to check its reward."""
    record = PoolRecord(
        name=name,
        tokenizer=str(folder),
        reward="exact",
        context_length=2048,
        max_prompt_tokens=max_prompt_tokens,
        created_at=1.0,
    )
    await pools.create(record)
    return record


async def upload(http: httpx.AsyncClient, *lines: Mapping[str, object], pool: str = "sums") -> httpx.Response:
    """Upload prompts."""
    return await http.post(f"/v1/pools/{pool}/prompts", content=ndjson(lines))
