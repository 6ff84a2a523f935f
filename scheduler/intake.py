"""Taking in pools and prompts.

Owns: creating a pool once its tokenizer and reward are known to work, and adding prompts to it, or showing what adding
them would store. Never touches a run.
Invariant: a pool that exists can be tokenised for and judged.
"""

import time
from collections.abc import AsyncIterator

import structlog

from scheduler.core.errors import InvalidInput
from scheduler.core.imports import EVERYTHING, Importable
from scheduler.prompts import AddReport, PreviewReport, PromptReader, lines_of
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import RewardKind, parse_spec
from scheduler.state.pools import PoolRecord, PoolStore
from scheduler.tokenizers import Tokenizers

log = structlog.get_logger(__name__)


class Intake:
    """Pools and prompts from outside."""

    def __init__(
        self, pools: PoolStore, rewards: RewardPool, tokenizers: Tokenizers, importable: Importable = EVERYTHING
    ) -> None:
        self._pools = pools
        self._rewards = rewards
        self._tokenizers = tokenizers
        self._importable = importable

    async def create_pool(
        self, name: str, *, tokenizer: str, reward: str, max_prompt_tokens: int | None = None
    ) -> PoolRecord:
        """Create a pool; raises InvalidInput for its tokenizer, reward or limit, Conflict if the name means another."""
        limits = (await self._tokenizers.get(tokenizer)).limits
        spec = parse_spec(reward)
        if spec.kind is RewardKind.PYTHON and spec.target is not None:
            self._importable.check(spec.target, "reward")
        await self._rewards.check(spec)
        longest = max_prompt_tokens if max_prompt_tokens is not None else limits.context_length - 1
        if not 1 <= longest < limits.context_length:
            raise InvalidInput(
                f"{longest} is not from 1 to {limits.context_length - 1}, what the model's context leaves for prompts",
                field="max_prompt_tokens",
            )
        record = PoolRecord(
            name=name,
            tokenizer=tokenizer,
            reward=reward,
            context_length=limits.context_length,
            max_prompt_tokens=longest,
            created_at=time.time(),
        )
        await self._pools.create(record)
        log.info("pool_created", pool=name, tokenizer=tokenizer)
        return await self._pools.get(name)

    async def add_prompts(self, name: str, body: AsyncIterator[bytes]) -> AddReport:
        """Add the prompts of an NDJSON stream; raises NotFound for the pool, and nothing for a bad line."""
        reader = await self._reader(name)
        report = await reader.read(lines_of(body))
        log.info("prompts_added", pool=name, added=report.added, unchanged=report.unchanged)
        return report

    async def preview_prompts(self, name: str, body: AsyncIterator[bytes]) -> PreviewReport:
        """What adding a few lines would store; raises NotFound for the pool, InvalidInput for too many lines."""
        reader = await self._reader(name)
        return await reader.preview(lines_of(body))

    async def _reader(self, name: str) -> PromptReader:
        pool = await self._pools.get(name)
        tokenizer = await self._tokenizers.get(pool.tokenizer)
        return PromptReader(
            self._pools, name, tokenizer, parse_spec(pool.reward), max_prompt_tokens=pool.max_prompt_tokens
        )
