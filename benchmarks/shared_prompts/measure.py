"""What computing a group's prompt once saves, against computing every rollout in full.

Owns: the groups, the plain computation beside ours, and what is timed: forward and backward of one group. Invariants:
both use the same model, the same padded-token budget for a micro-batch and the same threads; that their gradients are
equal is a test (tests/learner/test_trainer.py, float64) and is looked at here again.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.figures import Figure
from benchmarks.session import Findings, Say
from learner.batch import Rows, collate, mixed_groups, plan
from learner.forward import completion_logprobs
from scheduler.core.advantage import AdvantageKind
from scheduler.core.packed import Logprobs, TokenIds
from scheduler.core.types import FinishReason, Group, Rollout, Stage, VersionSpan

ROLLOUTS = (8, 16, 32, 64)
PROMPTS = (32, 128, 512, 2048)
COMPLETION = 64
_BUDGET = 16_384
_VOCABULARY = 4096
_CPU = torch.device("cpu")
_REPEATS = 2
_SAME = 1e-3
"""Of two gradients in float32, relative to their norm: they add up in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One size of group."""

    rollouts: int
    prompt: int
    plain_s: float
    shared_s: float

    @property
    def speed_up(self) -> float:
        """Plain over shared."""
        return self.plain_s / self.shared_s

    @property
    def ideal(self) -> float:
        """The ratio of tokens that go through the model."""
        plain = self.rollouts * (self.prompt + COMPLETION)
        return plain / (self.prompt + self.rollouts * COMPLETION)


async def measure(rollouts: Sequence[int], prompts: Sequence[int], say: Say) -> Findings:
    """Every size of group by every length of prompt."""
    model = _model()
    points = []
    for size in rollouts:
        for length in prompts:
            points.append(_point(model, size, length))
            say(f"{size} rollouts of a prompt of {length} tokens: {points[-1].speed_up:.1f} times as fast")
    return _figures(points), {
        "rollouts": [float(point.rollouts) for point in points],
        "prompt tokens": [float(point.prompt) for point in points],
        "plain s": [point.plain_s for point in points],
        "shared s": [point.shared_s for point in points],
    }


def points_of(raw: dict[str, list[float]]) -> list[Point]:
    """The points of a report."""
    columns = zip(raw["rollouts"], raw["prompt tokens"], raw["plain s"], raw["shared s"], strict=True)
    return [
        Point(rollouts=int(size), prompt=int(length), plain_s=plain_s, shared_s=shared_s)
        for size, length, plain_s, shared_s in columns
    ]


def _figures(points: Sequence[Point]) -> list[Figure]:
    figures = [
        Figure(
            what=f"speed-up, {point.rollouts} rollouts, prompt of {point.prompt} tokens",
            value=point.speed_up,
            note=f"ideal by tokens {point.ideal:.1f}; {point.plain_s:.2f} s against {point.shared_s:.2f} s",
        )
        for point in points
    ]
    share = fmean(point.speed_up / point.ideal for point in points)
    return [*figures, Figure(what="share of the ideal, mean of all", value=share)]


def _point(model: PreTrainedModel, size: int, length: int) -> Point:
    [group] = mixed_groups([_group(size, length)], AdvantageKind.GRPO)
    batches = [collate(rows, _CPU) for rows in plan([group], max_tokens=_BUDGET)]
    plain = _plain_batches(group.rows)

    def shared() -> None:
        for batch in batches:
            torch.autograd.backward(-completion_logprobs(model, batch, temperature=1.0).sum())

    def in_full() -> None:
        for ids_RT in plain:
            torch.autograd.backward(-_plain_logprobs(model, ids_RT).sum())

    shared_s, ours = _timed(model, shared)
    plain_s, theirs = _timed(model, in_full)
    difference = float((ours - theirs).norm() / theirs.norm())
    assert difference < _SAME, f"the gradients differ by {difference:.2g} of their norm"
    return Point(rollouts=size, prompt=length, plain_s=plain_s, shared_s=shared_s)


def _timed(model: PreTrainedModel, work: Callable[[], None]) -> tuple[float, Tensor]:
    """Seconds of the fastest of some repeats, and the gradient that it left, as one vector."""
    seconds = []
    for _ in range(_REPEATS):
        model.zero_grad()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return min(seconds), torch.cat(gradients).clone()


def _plain_batches(rows: Rows) -> list[Tensor]:
    """Every rollout with its prompt, as many together as the budget allows."""
    whole = [[*rows.prompt_ids, *rollout.token_ids] for rollout in rows.rollouts]
    at_once = max(1, _BUDGET // len(whole[0]))
    return [torch.tensor(whole[start : start + at_once]) for start in range(0, len(whole), at_once)]


def _plain_logprobs(model: PreTrainedModel, ids_RT: Tensor) -> Tensor:
    logits_RTV = model(input_ids=ids_RT, use_cache=False, logits_to_keep=COMPLETION + 1).logits[:, :-1].float()
    chosen_RT = logits_RTV.gather(-1, ids_RT[:, -COMPLETION:, None]).squeeze(-1)
    logprobs_RT: Tensor = chosen_RT - torch.logsumexp(logits_RTV, dim=-1)
    return logprobs_RT


def _model() -> PreTrainedModel:
    """A Llama of six million parameters: large enough for its matrices to be what takes the time."""
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("sdpa")
    model.train(False)
    return model


def _group(size: int, length: int) -> Group:
    chance = random.Random(size * 10_000 + length)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(_VOCABULARY) for _ in range(count))

    rollouts = tuple(
        Rollout(
            rid=f"r{number}",
            stage=Stage.PILOT,
            token_ids=TokenIds.of(tokens(COMPLETION)),
            logprobs=Logprobs.of([-8.0] * COMPLETION),
            finish_reason=FinishReason.LENGTH,
            spans=(VersionSpan(version=1, start=0, end=COMPLETION),),
            reward=float(number % 2),
            correct=bool(number % 2),
        )
        for number in range(size)
    )
    return Group(group_id="g", prompt_id="p", prompt_ids=tokens(length), rollouts=rollouts)
