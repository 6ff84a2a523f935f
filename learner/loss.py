"""The policy loss: PPO's surrogate with clip-higher and dual clip, averaged over tokens.

Owns: the loss of one micro-batch and the sums behind its metrics. Pure: tensors in, tensors out; never touches a model.
Invariant: the losses of a step's micro-batches add up to the step's loss, because each divides by the step's own number
of tokens. Shape legend: see learner.batch.

Per token, with advantage A of its rollout, log-probs `new` (the policy being differentiated), `old` (the same policy
before the step's first update) and `behaviour` (what the server sampled with, perhaps some versions ago):

    ratio     r = exp(new - old)
    surrogate s = min(r * A, clip(r, 1 - clip_low, 1 + clip_high) * A)
    dual clip s = max(s, dual_clip * A)                              where A < 0
    weight    w = min(exp(old - behaviour), importance_cap)          no gradient
    loss        = - sum over tokens of w * s, divided by num_tokens

Sources: PPO (1707.06347, eq. 7), dual clip (1912.09729, eq. 5), clip-higher and token mean (DAPO 2503.14476, sections
3.1 and 3.3), truncated importance weights as in IMPALA's rho (1802.01561, section 4.1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.core.advantage import AdvantageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The constants of the loss."""

    advantage: AdvantageKind = AdvantageKind.GRPO
    """How rewards become advantages."""
    clip_low: float = 0.2
    """How far below 1 the ratio may fall before a token stops teaching."""
    clip_high: float = 0.28
    """How far above 1 it may rise; wider than `clip_low`, so that rare tokens can still grow (clip-higher)."""
    dual_clip: float = 10.0
    """Largest ratio that counts against a bad token."""
    importance_cap: float = 2.0
    """Largest weight of a token that the policy now likes better than the server did."""
    selection_weight_cap: float = 1.0
    """Largest weight of a group that was unlikely to be chosen (1 / its selection probability); 1 weights none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSums:
    """Sums over trained tokens: they add up over micro-batches, and means are taken once at the end."""

    num_tokens: float = 0.0
    loss: float = 0.0
    """Already divided by the step's number of tokens."""
    ratio: float = 0.0
    clipped_high: float = 0.0
    """Tokens whose gradient the upper clip removed."""
    clipped_low: float = 0.0
    """Tokens whose gradient the lower clip removed."""
    clipped_dual: float = 0.0
    """Tokens whose gradient the dual clip removed."""
    capped: float = 0.0
    """Tokens whose importance weight was truncated."""
    mismatch: float = 0.0
    """Sum of |old - behaviour|: how far server and learner disagree about the same tokens."""
    kl: float = 0.0
    """Sum of exp(d) - 1 - d with d = old - behaviour: estimates KL(behaviour || policy), never negative (k3)."""

    def __add__(self, other: "TokenSums") -> "TokenSums":
        return TokenSums(
            num_tokens=self.num_tokens + other.num_tokens,
            loss=self.loss + other.loss,
            ratio=self.ratio + other.ratio,
            clipped_high=self.clipped_high + other.clipped_high,
            clipped_low=self.clipped_low + other.clipped_low,
            clipped_dual=self.clipped_dual + other.clipped_dual,
            capped=self.capped + other.capped,
            mismatch=self.mismatch + other.mismatch,
            kl=self.kl + other.kl,
        )


def policy_loss(
    *,
    logprobs_RT: Tensor,
    old_logprobs_RT: Tensor,
    behaviour_logprobs_RT: Tensor,
    advantages_R: Tensor,
    mask_RT: Tensor,
    num_tokens: int,
    objective: Objective,
) -> tuple[Tensor, TokenSums]:
    """The loss of one micro-batch (a scalar to differentiate) and the sums behind its metrics.

    `num_tokens` is the number of tokens the whole update averages over, rollouts of zero advantage included: they add
    nothing to the numerator and are not among the rows. Only `logprobs_RT` carries a gradient.
    """
    advantages_R1 = advantages_R[:, None]
    old_RT = old_logprobs_RT.detach()
    ratio_RT = torch.exp(logprobs_RT - old_RT)
    bounded_RT = ratio_RT.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    clipped_RT = torch.minimum(ratio_RT * advantages_R1, bounded_RT * advantages_R1)
    floored_RT = torch.maximum(clipped_RT, objective.dual_clip * advantages_R1)
    surrogate_RT = torch.where(advantages_R1 < 0, floored_RT, clipped_RT)
    gap_RT = old_RT - behaviour_logprobs_RT
    untruncated_RT = torch.exp(gap_RT)
    weights_RT = untruncated_RT.clamp(max=objective.importance_cap)
    loss = -(weights_RT * surrogate_RT * mask_RT).sum() / num_tokens
    positive_R1 = advantages_R1 > 0
    with torch.no_grad():
        sums = _sums(
            mask_RT,
            loss,
            ratio=ratio_RT,
            clipped_high=positive_R1 & (ratio_RT > 1 + objective.clip_high),
            clipped_low=~positive_R1 & (ratio_RT < 1 - objective.clip_low),
            clipped_dual=~positive_R1 & (ratio_RT > objective.dual_clip),
            capped=untruncated_RT > objective.importance_cap,
            mismatch=gap_RT.abs(),
            kl=torch.expm1(gap_RT) - gap_RT,
        )
    return loss, sums


def _sums(mask_RT: Tensor, loss: Tensor, **per_token_RT: Tensor) -> TokenSums:
    """Sum each named RT tensor over real tokens; one transfer from the device for all of them."""
    totals = torch.stack([mask_RT.sum(), loss, *((mask_RT * value).sum() for value in per_token_RT.values())])
    num_tokens, loss_value, *rest = totals.tolist()
    return TokenSums(num_tokens=num_tokens, loss=loss_value, **dict(zip(per_token_RT, rest, strict=True)))
