"""The files of a causal language model: its weights, and the small files that travel with them.

Owns: reading a checkpoint into a float32 model, and writing one that transformers and SGLang can load. Never decides
when or where. Invariant: what is written holds each tensor once (tied weights are not repeated), has exactly the
model's names and shapes, and carries config, tokenizer and chat template of the checkpoint that the model came from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from learner.gathering import gathered, send
from learner.ranks import ALONE, Ranks
from learner.sealed_directory import MANIFEST, tensor_header
from learner.tensor_file import TensorFile, entry_of, lay_out
from scheduler.core.errors import InvalidCheckpoint

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
COMPANION_SUFFIXES = frozenset({".json", ".jinja", ".txt", ".model"})


def load_model(directory: Path, device: torch.device) -> PreTrainedModel:
    """The policy of a checkpoint directory, in float32 on `device`; no hub is asked for anything.

    Raises InvalidCheckpoint where the directory holds no model or not all of its tensors.
    """
    model = read_model(directory, device)
    model.to(device)  # type: ignore[arg-type]  # transformers hides the Module's own signature
    return model


def read_model(directory: Path, device: torch.device) -> PreTrainedModel:
    """The policy of a checkpoint directory, in float32 in main memory, made to compute on `device` later.

    Raises InvalidCheckpoint where the directory holds no model or not all of its tensors.
    """
    try:
        loaded: object = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            # torch's fused attention has a CPU backward that is 15 times slower than its forward on short rows: a
            # whole step of SmolLM2-135M took 7.9 s with it and 5.4 s with plain matrix products.
            attn_implementation="eager" if device.type == "cpu" else "sdpa",
        )
    except (OSError, ValueError) as exc:
        raise InvalidCheckpoint(f"{directory}: cannot be loaded as a causal language model: {exc}") from exc
    model, loading = cast(tuple[PreTrainedModel, dict[str, set[str]]], loaded)
    if missing := sorted(loading["missing_keys"]):
        raise InvalidCheckpoint(f"{directory}: tensors are missing: {', '.join(missing[:5])}")
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionFiles:
    """Everything of a checkpoint but its weights, by file name."""

    contents: Mapping[str, bytes]

    @classmethod
    def read(cls, directory: Path) -> "CompanionFiles":
        """Read them into memory once (some MB), so that a run outlives the directory it started from."""
        names = sorted(path.name for path in directory.iterdir() if _is_companion(path))
        if CONFIG not in names:
            raise InvalidCheckpoint(f"{directory}: no {CONFIG}")
        return cls(contents={name: (directory / name).read_bytes() for name in names})

    def write(self, directory: Path, dtype: torch.dtype) -> None:
        """Write them all; the config says that the weights beside it are of `dtype`."""
        for name, content in self.contents.items():
            (directory / name).write_bytes(content)
        config = json.loads(self.contents[CONFIG])
        config.pop("torch_dtype", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
        (directory / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def write_model(
    model: PreTrainedModel, companions: CompanionFiles, directory: Path, *, dtype: torch.dtype, ranks: Ranks = ALONE
) -> None:
    """Write weights and companions into an existing directory, and check the written header against the model.

    Of a sharded model rank 0 writes and the others `send_model`, so that the folder need be seen by rank 0 alone.
    Raises InvalidCheckpoint where a weight is not finite or the file does not hold exactly the model's tensors.
    """
    directory.mkdir(exist_ok=True)
    path = directory / WEIGHTS
    tensors = unique_tensors(model)
    entries = {name: entry_of(tensor, dtype) for name, tensor in tensors.items()}
    lay_out(path, entries)
    try:
        with TensorFile.writing(path, durable=False) as file:
            for name, tensor in tensors.items():
                for first, piece_N in gathered(tensor, ranks, dtype=dtype):
                    file.write(name, first, piece_N)
    except InvalidCheckpoint:
        path.unlink()
        raise
    companions.write(directory, dtype)
    if tensor_header(path) != entries:
        raise InvalidCheckpoint(f"{directory}: the written tensors are not the model's")


def send_model(model: PreTrainedModel, *, dtype: torch.dtype) -> None:
    """This rank's part of a sharded model that rank 0 writes."""
    for tensor in unique_tensors(model).values():
        send(tensor, dtype=dtype)


def unique_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each once: a tied head goes under its embedding's name."""
    by_identity = {id(tensor): (name, tensor) for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    return dict(sorted(by_identity.values()))


def _is_companion(path: Path) -> bool:
    is_index = path.name.endswith(".index.json")
    return path.is_file() and path.suffix in COMPANION_SUFFIXES and not is_index and path.name != MANIFEST
