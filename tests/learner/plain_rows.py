"""The plain computation that sharing must equal: every rollout in full, one at a time, without cache or padding."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.batch import Rows, mixed_groups
from learner.loss import Objective, policy_loss
from scheduler.core.types import Group


def plain_logprobs(model: PreTrainedModel, rows: Rows, temperature: float) -> list[Tensor]:
    """Log-probs of each completion's tokens, one 1-D tensor per rollout."""
    results = []
    for rollout in rows.rollouts:
        token_ids = torch.tensor([[*rows.prompt_ids, *rollout.token_ids]])
        logits_V = model(input_ids=token_ids, use_cache=False).logits[0]
        logits_V = logits_V.to(torch.promote_types(logits_V.dtype, torch.float32)) / temperature
        logprobs_V = torch.log_softmax(logits_V, dim=-1)
        start = len(rows.prompt_ids)
        results.append(torch.stack([logprobs_V[start + i - 1, token] for i, token in enumerate(rollout.token_ids)]))
    return results


def plain_loss(
    model: PreTrainedModel, groups: Sequence[Group], objective: Objective, *, temperature: float = 1.0
) -> Tensor:
    """The loss of one update on `groups`, one rollout after the other."""
    mixed = mixed_groups(groups, objective.advantage, selection_weight_cap=objective.selection_weight_cap)
    losses = []
    for group in mixed:
        logprobs = plain_logprobs(model, group.rows, temperature)
        for rollout, advantage, row in zip(group.rows.rollouts, group.rows.advantages, logprobs, strict=True):
            loss, _ = policy_loss(
                logprobs_RT=row[None],
                old_logprobs_RT=row[None],
                behaviour_logprobs_RT=torch.tensor([rollout.logprobs]),
                advantages_R=torch.tensor([advantage]),
                mask_RT=torch.ones(1, len(row), dtype=torch.bool),
                num_tokens=sum(one.num_tokens for one in mixed),
                objective=objective,
            )
            losses.append(loss)
    return torch.stack(losses).sum()
