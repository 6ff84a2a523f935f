"""The plain computation that prompt sharing must equal: every row in full, one at a time, without cache or padding."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.batch import Rows


def plain_logprobs(model: PreTrainedModel, rows: Rows, temperature: float) -> list[Tensor]:
    """Log-probs of each completion's tokens, one 1-D tensor per rollout."""
    results = []
    for rollout in rows.rollouts:
        token_ids = torch.tensor([[*rows.prompt_ids, *rollout.token_ids]])
        logits_V = model(input_ids=token_ids, use_cache=False).logits[0].float() / temperature
        logprobs_V = torch.log_softmax(logits_V, dim=-1)
        start = len(rows.prompt_ids)
        results.append(torch.stack([logprobs_V[start + i - 1, token] for i, token in enumerate(rollout.token_ids)]))
    return results
