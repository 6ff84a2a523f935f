"""Log-probs of completions under the policy, each prompt computed once.

Owns: the forward pass. Never computes a loss. Invariant: log-probs and gradients are those of the plain computation
that runs every row in full (prompt + completion); only the work differs. On a CPU the same tensors give the same bits.

Why that is exact: a prompt's keys and values do not depend on what follows it, so the rows of a group may share them.
The cache returned by the prompt's forward still hangs on the autograd graph; selecting rows from it is a gather, whose
gradient sums over the rows of the group, and that sum is what the rows' own copies of the prompt would have received.

Shape legend: see learner.batch.
"""

from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from learner.batch import MicroBatch


def completion_logprobs(model: PreTrainedModel, batch: MicroBatch, *, temperature: float) -> Tensor:
    """Log-prob of every completion token in nats, float32, shape RT; zero at padding.

    Taken over the full vocabulary at the sampling `temperature`, as the server takes its behaviour log-probs.
    """
    prompt_logits_GV, cache = _prompts(model, batch)
    first_R = _first_tokens(prompt_logits_GV.float() / temperature, batch)
    if batch.completion_ids_RT.shape[1] == 1:
        logprobs_RT = first_R[:, None]
    else:
        rest_RT = _continuations(model, batch, cache, temperature)
        logprobs_RT = torch.cat([first_R[:, None], rest_RT], dim=1)
    return logprobs_RT.masked_fill(~batch.completion_mask_RT, 0.0)


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
    """Log-probs of every row's first completion token, without a row of V for each rollout."""
    rows_R, token_ids_R = batch.prompt_of_row_R, batch.completion_ids_RT[:, 0]
    chosen_R = scaled_GV.flatten().index_select(0, rows_R * scaled_GV.shape[1] + token_ids_R)
    return chosen_R - torch.logsumexp(scaled_GV, dim=-1).index_select(0, rows_R)


def _continuations(model: PreTrainedModel, batch: MicroBatch, cache: DynamicCache, temperature: float) -> Tensor:
    """Log-probs of the second to the last completion token: the last token is predicted but never fed."""
    # reorder_cache selects with index_select, whose backward adds in a fixed order. Indexing would add in parallel with
    # atomics, in any order, and a resumed run would no longer equal an uninterrupted one bit for bit.
    cache.reorder_cache(cast(torch.LongTensor, batch.prompt_of_row_R))
    fed_mask_RT = batch.completion_mask_RT[:, :-1]
    output = cast(
        CausalLMOutputWithPast,
        model(
            input_ids=batch.completion_ids_RT[:, :-1],
            attention_mask=torch.cat([batch.prompt_mask_GP[batch.prompt_of_row_R], fed_mask_RT], dim=1).long(),
            position_ids=batch.completion_positions_RT[:, :-1],
            past_key_values=cache,
            use_cache=True,
        ),
    )
    return _gathered(cast(Tensor, output.logits), batch.completion_ids_RT[:, 1:], temperature)


def _gathered(logits_RTV: Tensor, token_ids_RT: Tensor, temperature: float) -> Tensor:
    """Log-probs of `token_ids_RT` under `logits_RTV`: the logit less the logarithm of the partition sum."""
    scaled_RTV = logits_RTV.float() / temperature
    chosen_RT = scaled_RTV.gather(-1, token_ids_RT[..., None]).squeeze(-1)
    return chosen_RT - torch.logsumexp(scaled_RTV, dim=-1)
