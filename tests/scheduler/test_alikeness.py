"""What is said of a server whose tokenizer or number type is not the model's."""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from inference.client import ServerClient
from inference.fake import FailWith, FakeConfig, FakeServer, create_fake
from inference.protocol import ModelLimits
from scheduler.fleet import ExpectedModel
from scheduler.fleet.alikeness import TEXTS, dtype_difference, fingerprint, tokenizer_difference
from scheduler.fleet.fitness import Fitness, fitness
from scheduler.fleet.reference import Reference
from scheduler.tokenizers import Tokenizers

LIMITS = ModelLimits(vocab_size=128, context_length=64)


async def found_of(config: FakeConfig, model_folder: Path, *, faults: dict[str, int] | None = None) -> Fitness:
    fake = FakeServer(config)
    for path, status in (faults or {}).items():
        fake.faults.order(path, FailWith(status=status))
    client = ServerClient("http://fake", LIMITS, transport=httpx.ASGITransport(create_fake(fake)))
    reference = Reference(model_folder, Tokenizers())
    found = await fitness(client, ExpectedModel.read(model_folder), [], reference)
    await client.aclose()
    return found


async def the_models_own(model_folder: Path) -> Callable[[str], list[int]]:
    tokenizer = await Tokenizers().get(str(model_folder))
    return lambda text: list(tokenizer.encode_bare(text))


async def test_a_server_with_the_models_tokenizer_is_fit(model_folder: Path) -> None:
    own = await the_models_own(model_folder)
    assert (await found_of(FakeConfig(tokenizer=own), model_folder)).unfit == ""


async def test_a_server_with_another_tokenizer_is_unfit_and_both_are_named(model_folder: Path) -> None:
    own = await the_models_own(model_folder)
    found = await found_of(FakeConfig(tokenizer=lambda text: [7, *own(text)[1:]]), model_folder)
    ours = tuple(tuple(own(text)) for text in TEXTS)
    theirs = tuple((7, *ids[1:]) for ids in ours)
    for said in (fingerprint(ours), fingerprint(theirs), str(model_folder), "--tokenizer-path", "PILOTCOMMIT_MODEL"):
        assert said in found.unfit
    assert f"tokens with [7, {ours[0][1]}" in found.unfit


@pytest.mark.parametrize("faults", [{}, {"/v1/tokenize": 404}], ids=["skip_tokenizer_init", "no such route"])
async def test_a_server_that_does_not_tell_is_let_through(faults: dict[str, int], model_folder: Path) -> None:
    assert (await found_of(FakeConfig(tokenizer=None), model_folder, faults=faults)).unfit == ""


async def test_a_model_without_a_tokenizer_judges_nobody(model_folder: Path, tmp_path: Path) -> None:
    shutil.copy(model_folder / "config.json", tmp_path)
    reference = Reference(tmp_path, Tokenizers())
    assert await reference.difference(tuple((1,) for _ in TEXTS)) == ""


def test_a_text_that_goes_on_is_told_apart_from_where_it_ends() -> None:
    ours = tuple((1, 2) for _ in TEXTS)
    theirs = ((1, 2), (1, 2, 3), *ours[2:])
    assert "3 tokens with [2, 3] from 1 on, ours 2 tokens with [2] from 1 on" in tokenizer_difference(
        theirs, ours, Path("/m")
    )
    assert tokenizer_difference(ours, ours, Path("/m")) == ""


@pytest.mark.parametrize(
    ("theirs", "ours", "quantization", "said"),
    [
        ("bfloat16", "bfloat16", "", ""),
        ("auto", "bfloat16", "", ""),
        ("float32", "bfloat16", "", ""),
        ("float", "bfloat16", "", ""),
        ("half", "float16", "", ""),
        ("half", "bfloat16", "", "it computes in float16, the model is written in bfloat16"),
        ("", "bfloat16", "", ""),
        ("float16", "", "", ""),
        ("float16", "bfloat16", "", "it computes in float16, the model is written in bfloat16"),
        ("bfloat16", "float32", "", "launch it with --dtype float32"),
        ("bfloat16", "bfloat16", "fp8", "it quantises its weights (fp8), the model is written in bfloat16"),
    ],
)
def test_a_narrower_number_type_is_told_with_what_to_do(theirs: str, ours: str, quantization: str, said: str) -> None:
    difference = dtype_difference(theirs, ours, quantization)
    assert said in difference
    assert bool(said) is bool(difference)


async def test_what_differs_and_keeps_a_server_from_nothing_is_a_warning(model_folder: Path) -> None:
    found = await found_of(FakeConfig(dtype="float16"), model_folder)
    assert found.unfit == ""
    [warning] = found.warnings
    assert "it computes in float16, the model is written in float32" in warning
