"""Log-probs of completions under the policy, each prompt and each of its distinct completions computed once.

Owns: the forward pass. Never computes a loss. Invariant: log-probs and gradients are those of the plain computation
that runs every rollout in full (prompt + completion); only the work differs. On a CPU the same tensors give the same
bits.

Why that is exact: a prompt's keys and values do not depend on what follows it, so the rows of a group may share them.
The cache returned by the prompt's forward still hangs on the autograd graph; selecting rows from it is a gather, whose
gradient sums over the rows of the group, and that sum is what the rows' own copies of the prompt would have received.
In the same way rollouts of equal tokens share a row: its log-probs are gathered for each of them, and the gradients
that they send back, each of its own advantage and importance weight, add up before they enter the model.

Shape legend: see learner.batch.
"""

from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from learner.batch import MicroBatch


def completion_logprobs(model: PreTrainedModel, batch: MicroBatch, *, temperature: float) -> Tensor:
    """Log-prob of every rollout's tokens in nats, float32 (or the model's wider type), shape RT; zero at padding.

    Taken over the full vocabulary at the sampling `temperature`, as the server takes its behaviour log-probs.
    """
    prompt_logits_GV, cache = _prompts(model, batch)
    logprobs_DT = _first_tokens(_scaled(prompt_logits_GV, temperature), batch)[:, None]
    if batch.completion_ids_DT.shape[1] > 1:
        logprobs_DT = torch.cat([logprobs_DT, _continuations(model, batch, cache, temperature)], dim=1)
    # index_select and not indexing, here as below: its backward adds in a fixed order.
    return logprobs_DT.masked_fill(~batch.completion_mask_DT, 0.0).index_select(0, batch.row_of_rollout_R)


def _prompts(model: PreTrainedModel, batch: MicroBatch) -> tuple[Tensor, DynamicCache]:
    """Next-token logits after each prompt (GV), and the prompts' keys and values, still on the graph."""
    output = cast(
        CausalLMOutputWithPast,
        model(
            input_ids=batch.prompt_ids_GP,
            attention_mask=batch.prompt_mask_GP.long(),
            position_ids=batch.prompt_positions_GP,
            past_key_values=DynamicCache(config=model.config),
            use_cache=True,
            logits_to_keep=1,
        ),
    )
    return cast(Tensor, output.logits)[:, -1], cast(DynamicCache, output.past_key_values)


def _first_tokens(scaled_GV: Tensor, batch: MicroBatch) -> Tensor:
    """Log-probs of every row's first completion token, without logits of V for each row."""
    prompts_D, token_ids_D = batch.prompt_of_row_D, batch.completion_ids_DT[:, 0]
    chosen_D = scaled_GV.flatten().index_select(0, prompts_D * scaled_GV.shape[1] + token_ids_D)
    return chosen_D - torch.logsumexp(scaled_GV, dim=-1).index_select(0, prompts_D)


def _continuations(model: PreTrainedModel, batch: MicroBatch, cache: DynamicCache, temperature: float) -> Tensor:
    """Log-probs of the second to the last completion token: the last token is predicted but never fed."""
    # reorder_cache selects with index_select, whose backward adds in a fixed order. Indexing would add in parallel with
    # atomics, in any order, and a resumed run would no longer equal an uninterrupted one bit for bit.
    cache.reorder_cache(cast(torch.LongTensor, batch.prompt_of_row_D))
    fed_mask_DT = batch.completion_mask_DT[:, :-1]
    output = cast(
        CausalLMOutputWithPast,
        model(
            input_ids=batch.completion_ids_DT[:, :-1],
            attention_mask=torch.cat([batch.prompt_mask_GP[batch.prompt_of_row_D], fed_mask_DT], dim=1).long(),
            position_ids=batch.completion_positions_DT[:, :-1],
            past_key_values=cache,
            use_cache=True,
        ),
    )
    return _gathered(cast(Tensor, output.logits), batch.completion_ids_DT[:, 1:], temperature)


def _gathered(logits_DTV: Tensor, token_ids_DT: Tensor, temperature: float) -> Tensor:
    """Log-probs of `token_ids_DT` under `logits_DTV`: the logit less the logarithm of the partition sum."""
    scaled_DTV = _scaled(logits_DTV, temperature)
    chosen_DT = scaled_DTV.gather(-1, token_ids_DT[..., None]).squeeze(-1)
    return chosen_DT - torch.logsumexp(scaled_DTV, dim=-1)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """Logits at the sampling temperature, of any shape, in float32 at least."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # At the usual temperature of 1 a division would only copy the largest tensor of a step, forwards and backwards.
    return wide if temperature == 1.0 else wide / temperature
