"""How the fake server was launched.

Owns: the launch settings and what counts as a checkpoint. Invariant: two checkpoints have the same fingerprint exactly
if they hold the same weights.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference.fake.weight_groups import Air


def fingerprint(path: str) -> str | None:
    """Identity of the weights in a checkpoint directory (a hash over its safetensors); None if there are none."""
    files = sorted(Path(path).glob("*.safetensors"))
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(_without_header(file.read_bytes()))
    return digest.hexdigest()


def _without_header(content: bytes) -> bytes:
    """The tensors of a safetensors file: what a learner broadcasts of it."""
    start = 8 + int.from_bytes(content[:8], "little")
    return content[start:] if start <= len(content) else content


def _fingerprint_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeConfig:
    """How the fake server was launched."""

    model_path: str = "models/m0"
    weight_version: str = "default"
    vocab_size: int = 128
    context_length: int = 2048
    random_seed: int = 1234
    version: str = "0.5.23"
    model_type: str = "llama"
    architectures: tuple[str, ...] = ("LlamaForCausalLM",)
    max_running: int = 256
    max_queued: int | None = None
    api_key: str | None = None
    admin_api_key: str | None = None
    has_checksums: bool = True
    """Whether /weights_checker exists."""
    num_ranks: int = 1
    """Of tensor parallelism."""
    air: Air | None = None
    """Where it finds learners that broadcast; None is a place of its own, with nobody in it."""
    received: Callable[[bytes], str] = _fingerprint_of
    """Fingerprint of weights that were broadcast."""
    tokenizer: Callable[[str], list[int]] | None = None
    """What it makes of a text, without what a text begins with; None is --skip-tokenizer-init."""
    dtype: str = "float32"
    quantization: str | None = None
    checkpoints: Callable[[str], str | None] = fingerprint
    """Fingerprint of the weights at a path, or None where there is no checkpoint. The launch path may have none."""
