"""What is written can be loaded by others, holds each tensor once, and nothing that is not finite."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from learner.model_files import WEIGHTS, CompanionFiles, load_model, unique_tensors, write_model
from learner.sealed_directory import tensor_header
from scheduler.core.errors import InvalidCheckpoint

CPU = torch.device("cpu")
Fresh = Callable[[], PreTrainedModel]


def tied_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_written_model_loads_with_the_same_weights(
    fresh_policy: Fresh, tiny_checkpoint: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = fresh_policy()
    write_model(model, CompanionFiles.read(tiny_checkpoint), tmp_path, dtype=dtype)
    loaded = load_model(tmp_path, CPU).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor.to(dtype).float()) for name, tensor in model.state_dict().items())
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_a_tied_head_is_written_once_and_comes_back_tied(tmp_path: Path) -> None:
    model = tied_model()
    model.config.save_pretrained(tmp_path)
    write_model(model, CompanionFiles.read(tmp_path), tmp_path, dtype=torch.float32)
    names = set(tensor_header(tmp_path / WEIGHTS))
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    loaded = load_model(tmp_path, CPU)
    assert isinstance(loaded, LlamaForCausalLM)
    assert torch.equal(loaded.lm_head.weight, model.model.embed_tokens.weight)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_an_untied_head_is_written_beside_its_embedding(fresh_policy: Fresh) -> None:
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= set(unique_tensors(fresh_policy()))


def test_the_tokenizer_travels_with_the_weights(fresh_policy: Fresh, tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_model(fresh_policy(), CompanionFiles.read(tiny_checkpoint), tmp_path, dtype=torch.bfloat16)
    text = "3 + 4 = 7\n"
    before, after = (AutoTokenizer.from_pretrained(path).encode(text) for path in (tiny_checkpoint, tmp_path))
    assert before == after


def test_weights_that_are_not_finite_never_reach_a_file_that_can_be_loaded(
    fresh_policy: Fresh, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = fresh_policy()
    with torch.no_grad():
        model.get_parameter("model.norm.weight")[3] = float("inf")
    with pytest.raises(InvalidCheckpoint, match=r"model\.norm\.weight"):
        write_model(model, CompanionFiles.read(tiny_checkpoint), tmp_path, dtype=torch.bfloat16)
    assert not (tmp_path / WEIGHTS).exists()


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="cannot be loaded"):
        load_model(tmp_path, CPU)
    with pytest.raises(InvalidCheckpoint, match=r"no config\.json"):
        CompanionFiles.read(tmp_path)


def test_a_checkpoint_that_misses_a_tensor_is_refused(
    fresh_policy: Fresh, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    model = fresh_policy()
    del model.model.norm.weight
    write_model(model, CompanionFiles.read(tiny_checkpoint), tmp_path, dtype=torch.float32)
    with pytest.raises(InvalidCheckpoint, match=r"missing: model\.norm\.weight"):
        load_model(tmp_path, CPU)
