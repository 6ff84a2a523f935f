"""Prompts never solved: visited, and not one rollout right.

Owns: their order by rollouts, and one wrong answer of each. Never touches rows. Invariant: a prompt is listed exactly
as long as it has rollouts and none of them was ever right.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from scheduler.core.informativeness import Evidence
from scheduler.core.types import Rollout
from scheduler.state.keys import RunKeys
from scheduler.state.transaction import Transaction
from scheduler.state.wire import raw, text

ANSWER_BYTES = 160
"""An answer stands at the end of a completion: of a longer one, so many last bytes are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAnswer:
    """What a prompt's last visit answered most often, all of it wrong."""

    text: str
    """The end of the completion."""
    count: int
    """Rollouts of the visit that ended so."""
    rollouts: int
    """Rollouts of the visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsolvedPrompt:
    """A prompt never solved."""

    prompt_id: str
    rollouts: int
    answered: WrongAnswer | None
    """None if its completions had no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsolvedPage:
    """Some prompts never solved, most rollouts first."""

    total: int
    """All that have at least as many rollouts as asked for."""
    prompts: tuple[UnsolvedPrompt, ...]


def wrong_answer(rollouts: Sequence[Rollout]) -> WrongAnswer | None:
    """The answer given most often, the first of several; None without any text."""
    ends = Counter(_end(rollout.text) for rollout in rollouts if rollout.text.strip())
    if not ends:
        return None
    [(answer, count)] = ends.most_common(1)
    return WrongAnswer(text=answer, count=count, rollouts=len(rollouts))


def _end(completion: str) -> str:
    # Cut between bytes: what is left of a character that was cut is dropped.
    return completion.strip().encode(errors="replace")[-ANSWER_BYTES:].decode(errors="ignore")


def note_unsolved(transaction: Transaction, prompt_id: str, evidence: Evidence, rollouts: Sequence[Rollout]) -> None:
    """A visit with these rollouts has ended; `evidence` counts them."""
    keys = transaction.keys
    if not rollouts:
        return
    if evidence.num_correct:
        transaction.run("ZREM", keys.unsolved, prompt_id)
        transaction.run("HDEL", keys.wrong_answers, prompt_id)
        return
    transaction.run("ZADD", keys.unsolved, evidence.num_rollouts, prompt_id)
    answer = wrong_answer(rollouts)
    if answer is not None:
        transaction.run("HSET", keys.wrong_answers, prompt_id, msgspec.msgpack.encode(answer))


async def unsolved(redis: "Redis", keys: RunKeys, *, min_rollouts: int, count: int, offset: int) -> UnsolvedPage:
    """One page; costs O(log n + offset + count), whatever the size of the pool."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zcount(keys.unsolved, min_rollouts, "+inf")
        pipe.zrevrangebyscore(keys.unsolved, "+inf", min_rollouts, start=offset, num=count, withscores=True)
        total, ranked = await pipe.execute()
    found = [(text(member), int(score)) for member, score in ranked]
    answers = await redis.hmget(keys.wrong_answers, [name for name, _ in found]) if found else []
    return UnsolvedPage(
        total=total,
        prompts=tuple(
            UnsolvedPrompt(
                prompt_id=name,
                rollouts=rollouts,
                answered=None if answer is None else msgspec.msgpack.decode(raw(answer), type=WrongAnswer),
            )
            for (name, rollouts), answer in zip(found, answers, strict=True)
        ),
    )
