"""A tiny random policy that computes in float64 throughout, for tests that two computations are the same."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from tests.tiny_model import VOCAB_SIZE


def exact_policy(*, seed: int = 0) -> PreTrainedModel:
    """A GPT-2, because a Llama's norms and plain attention compute in float32 whatever its weights are."""
    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        # A wide spread makes distributions uneven and gradients large beside rounding.
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    model.set_attn_implementation("sdpa")
    model.train(False)
    return model.double()
