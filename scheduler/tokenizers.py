"""Tokenizers and limits of local models, without torch.

Owns: loading a tokenizer once per folder, and reading what a model can be asked. Never reaches a hub. Invariant: a
tokenizer comes with the limits of the model it belongs to.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.protocol import ModelLimits
from scheduler.core.errors import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def model_limits(folder: Path) -> ModelLimits:
    """Vocabulary and context of the model in a folder; raises InvalidInput naming what its config.json lacks."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        # A multimodal model keeps what concerns text in a section of its own.
        text_config = {**config, **(config.get("text_config") or {})}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{folder} is no model folder: {error}", field="tokenizer") from error
    for name in ("vocab_size", "max_position_embeddings"):
        if not isinstance(text_config.get(name), int):
            raise InvalidInput(f"{path} does not say its {name}", field="tokenizer")
    return ModelLimits(vocab_size=text_config["vocab_size"], context_length=text_config["max_position_embeddings"])


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """One model's tokenizer with its limits."""

    backend: "PreTrainedTokenizerBase"
    limits: ModelLimits

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text as it is, with whatever the model begins a text with."""
        return tuple(self.backend(text)["input_ids"])

    def encode_bare(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that goes on from another, without what a text begins or ends with."""
        return tuple(self.backend(text, add_special_tokens=False)["input_ids"])

    def decode(self, input_ids: Sequence[int]) -> str:
        """Token ids as text again, special tokens included: what the model sees."""
        text = self.backend.decode(list(input_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)

    def encode_messages(self, messages: Sequence[dict[str, str]]) -> tuple[int, ...]:
        """Token ids of a chat up to where the model answers; raises InvalidInput if there is no chat template."""
        if self.backend.chat_template is None:
            raise InvalidInput("this tokenizer has no chat template: give the prompt as text", field="messages")
        try:
            text = self.backend.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        # A template is a program that came with the model: it may raise anything.
        except Exception as error:
            raise InvalidInput(f"the chat template refuses these messages: {error}", field="messages") from error
        # The rendered template carries the model's own opening token.
        return self.encode_bare(str(text))


class Tokenizers:
    """Tokenizers by folder, each loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Tokenizer] = {}
        self._loading = asyncio.Lock()

    async def get(self, folder: str) -> Tokenizer:
        """The tokenizer in a folder; raises InvalidInput if there is none."""
        async with self._loading:
            if folder not in self._loaded:
                self._loaded[folder] = await asyncio.to_thread(load_tokenizer, Path(folder))
            return self._loaded[folder]


def quickly_encoded(folder: Path, texts: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
    """Token ids of texts by a folder's tokenizer.json alone; None without one that can be read.

    Nearly always those of `Tokenizer.encode_bare`, in a hundredth of the time that loading that takes.
    """
    from tokenizers import Tokenizer as Fast

    try:
        fast = Fast.from_file(str(folder / "tokenizer.json"))
    except Exception:  # noqa: BLE001 - the library raises no other, for a file that is not there too
        return None
    return tuple(tuple(fast.encode(text, add_special_tokens=False).ids) for text in texts)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder, loaded anew; raises InvalidInput if there is none."""
    # Not Path.is_dir, which raises for a name that is too long.
    if not os.path.isdir(folder):
        raise InvalidInput(
            f"{folder} is not a folder here: name one with a tokenizer and config.json, no hub is reached",
            field="tokenizer",
        )
    limits = model_limits(folder)
    # Advice that torch is missing is no news here; the scheduler only tokenises.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    try:
        # Without the last argument, a folder that brings code of its own would ask on the terminal whether to run it.
        backend = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # A broken tokenizer.json raises a bare Exception from the tokenizers library.
    except Exception as error:
        raise InvalidInput(f"{folder} has no usable tokenizer: {error}", field="tokenizer") from error
    return Tokenizer(backend=backend, limits=limits)
