"""A tokenizer comes from a folder here, with the limits of its model, or not at all."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference.protocol import ModelLimits
from scheduler.core.errors import InvalidInput
from scheduler.tokenizers import Tokenizers, model_limits
from tests.tiny_model import CONTEXT_LENGTH, VOCAB_SIZE

LIMITS = {"vocab_size": 10, "max_position_embeddings": 20}


def _write(folder: Path, config: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("config", [LIMITS, {"text_config": LIMITS}, {**LIMITS, "text_config": None}])
def test_limits_are_read_from_the_part_of_the_config_that_is_about_text(tmp_path: Path, config: object) -> None:
    assert model_limits(_write(tmp_path, config)) == ModelLimits(vocab_size=10, context_length=20)


@pytest.mark.parametrize("config", [{}, [], "text", {"vocab_size": 10}, {"vocab_size": "10"}, {"text_config": [1]}])
def test_a_config_without_limits_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        model_limits(_write(tmp_path, config))
    assert refusal.value.field == "tokenizer"


async def test_a_folder_is_loaded_once_however_many_ask(model_folder: Path) -> None:
    tokenizers = Tokenizers()
    first, second = await asyncio.gather(*(tokenizers.get(str(model_folder)) for _ in range(2)))
    assert first is second
    assert first.limits == ModelLimits(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH)


async def test_a_broken_tokenizer_is_refused_with_its_folder(tmp_path: Path) -> None:
    _write(tmp_path, {**LIMITS, "model_type": "llama"})
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidInput, match="no usable tokenizer") as refusal:
        await Tokenizers().get(str(tmp_path))
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("text", ["1 + 2 =", "a , b . c ?\n", "<bos>1<eos>"])
async def test_token_ids_are_decoded_to_what_was_encoded_special_tokens_and_spaces_included(
    model_folder: Path, text: str
) -> None:
    tokenizer = await Tokenizers().get(str(model_folder))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_it_works_in_silence_where_torch_is_not_installed(model_folder: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "sys.modules['torch'] = None\n"
        "from scheduler.tokenizers import Tokenizers\n"
        "print(len(asyncio.run(Tokenizers().get(sys.argv[1])).encode('1 + 2 =')))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFORMERS_")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(model_folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
