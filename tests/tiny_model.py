"""A tiny random Llama with a tokenizer of characters: a checkpoint for tests that need a real model.

Owns: the architecture and the files. Never trains. Invariant: the same seed writes the same bytes, and all seeds share
one tokenizer and one architecture, so that any such checkpoint can replace any other on a running server.
"""

import os
from pathlib import Path

CONTEXT_LENGTH = 2048
VOCAB_SIZE = 128
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
_CHARACTERS = "0123456789+-*/=()., \n?:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def write_tiny_model(directory: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint (config, safetensors, tokenizer) with the weights of `seed` into `directory`, and return it.

    The ids above the tokenizer's own characters are in the embedding only, as in models with a padded vocabulary.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(directory)
    _write_weights(directory, seed)
    return directory


def _write_tokenizer(directory: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": PAD_ID, "<bos>": BOS_ID, "<eos>": EOS_ID, "<unk>": 3}
    vocabulary |= {character: index for index, character in enumerate(_CHARACTERS, start=len(vocabulary))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(directory)


def _write_weights(directory: Path, seed: int) -> None:
    # Before torch: its threads spin, and slow down everything else on a small machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=False,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        # A wide spread makes its distributions differ between seeds by far more than rounding.
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory, safe_serialization=True)
