"""Weights that would kill a server, or be half loaded, are refused before any server hears of them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from scheduler.checkpoints import Checkpoints
from scheduler.core.broadcast import BroadcastBackend, BroadcastOffer, TensorSpec
from scheduler.core.errors import InvalidInput

SHAPES = {"embed.weight": (8, 4), "layer.0.weight": (4, 4), "layer.1.weight": (4, 4)}
HEAD = {"lm_head.weight": (8, 4)}


def write(folder: Path, shapes: Mapping[str, tuple[int, ...]], *, tied: bool = False, dtype: str = "float32") -> Path:
    """A checkpoint of two files, as large models are split."""
    folder.mkdir()
    names = sorted(shapes)
    for number, part in enumerate((names[:1], names[1:])):
        tensors = {name: np.zeros(shapes[name], dtype=dtype) for name in part}
        save_file(tensors, folder / f"model-{number}.safetensors")
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
    return folder


async def test_the_models_own_tensors_are_let_through_in_any_precision(tmp_path: Path) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES))
    await checkpoints.check(str(write(tmp_path / "next", SHAPES, dtype="float16")))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({**SHAPES, "layer.1.weight": (4, 5)}, r"another shape: layer\.1\.weight \[4, 5\] for \[4, 4\]"),
        ({"embed.weight": (8, 4), "layer.0.weight": (4, 4)}, r"lacks layer\.1\.weight$"),
        ({**SHAPES, "adapter": (1,)}, "has what the model has not: adapter$"),
        ({f"other.{number}": (1,) for number in range(3)}, r"lacks embed\.weight, layer\.0\.weight, layer\.1\.weight$"),
    ],
    ids=["shape", "missing", "unknown", "another model"],
)
async def test_other_tensors_are_refused_by_name(
    tmp_path: Path, shapes: Mapping[str, tuple[int, ...]], message: str
) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES))
    with pytest.raises(InvalidInput, match=message) as refused:
        await checkpoints.check(str(write(tmp_path / "next", shapes)))
    assert refused.value.field == "path"


async def test_an_error_names_a_few_of_many(tmp_path: Path) -> None:
    many = {f"layer.{number}": (2,) for number in range(9)}
    checkpoints = Checkpoints(write(tmp_path / "model", many))
    with pytest.raises(InvalidInput, match=r"lacks layer\.1, layer\.2, layer\.3 and 5 more"):
        await checkpoints.check(str(write(tmp_path / "next", {"layer.0": (2,)})))


@pytest.mark.parametrize(("model", "published"), [(SHAPES | HEAD, SHAPES), (SHAPES, SHAPES | HEAD)])
async def test_a_tied_head_may_be_written_or_left_out(
    tmp_path: Path, model: Mapping[str, tuple[int, ...]], published: Mapping[str, tuple[int, ...]]
) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", model, tied=True))
    await checkpoints.check(str(write(tmp_path / "next", published)))


async def test_a_head_of_its_own_is_not_left_out(tmp_path: Path) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES | HEAD))
    with pytest.raises(InvalidInput, match="lacks lm_head"):
        await checkpoints.check(str(write(tmp_path / "next", SHAPES)))


async def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES))
    cut = write(tmp_path / "next", SHAPES)
    file = cut / "model-1.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InvalidInput, match=r"model-1\.safetensors is no safetensors file"):
        await checkpoints.check(str(cut))


async def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES))
    (tmp_path / "next").mkdir()
    with pytest.raises(InvalidInput, match="holds no safetensors file"):
        await checkpoints.check(str(tmp_path / "next"))


async def test_what_this_host_cannot_see_is_left_to_the_servers(tmp_path: Path) -> None:
    await Checkpoints(write(tmp_path / "model", SHAPES)).check(str(tmp_path / "elsewhere"))
    await Checkpoints(None).check(str(tmp_path))


async def test_a_model_folder_without_weights_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    await Checkpoints(tmp_path / "tokenizer").check(str(write(tmp_path / "next", SHAPES)))


async def test_weights_lie_where_the_operator_says_wherever_links_lead(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    inside, outside = write(root / "v1", SHAPES), write(tmp_path / "elsewhere", SHAPES)
    (root / "current").symlink_to(inside)
    (root / "escape").symlink_to(outside)
    checkpoints = Checkpoints(None, [root])
    for path in (inside, root / "current", root / "not-there-yet"):
        await checkpoints.check(str(path))
    for path in (outside, root / "escape", root / ".." / "elsewhere", tmp_path / "runs-of-another", Path("/")):
        with pytest.raises(InvalidInput, match="outside of PILOTCOMMIT_WEIGHT_ROOTS") as refusal:
            await checkpoints.check(str(path))
        assert refusal.value.field == "path"
    with pytest.raises(InvalidInput, match="not absolute"):
        await checkpoints.check("runs/v1")
    with pytest.raises(InvalidInput, match="no path") as refusal:
        await checkpoints.check("/runs/\0")
    assert refusal.value.field == "path"


async def test_without_roots_weights_lie_anywhere(tmp_path: Path) -> None:
    await Checkpoints(None).check(str(tmp_path / "anywhere"))


def offer_of(*buckets: Mapping[str, tuple[int, ...]]) -> BroadcastOffer:
    return BroadcastOffer(
        backend=BroadcastBackend.GLOO,
        buckets=tuple(
            tuple(TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in bucket.items())
            for bucket in buckets
        ),
    )


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        (({**SHAPES, "layer.1.weight": (4, 5)},), r"the broadcast has tensors of another shape: layer\.1\.weight"),
        (({"embed.weight": (8, 4)}, {"layer.0.weight": (4, 4)}), r"the broadcast lacks layer\.1\.weight$"),
        ((SHAPES, {"embed.weight": (8, 4)}), "1 tensors are named twice"),
    ],
    ids=["shape", "missing", "twice"],
)
async def test_a_broadcast_of_other_tensors_is_refused_by_name(
    tmp_path: Path, buckets: tuple[Mapping[str, tuple[int, ...]], ...], message: str
) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES))
    with pytest.raises(InvalidInput, match=message) as refused:
        await checkpoints.check_offer(offer_of(*buckets))
    assert refused.value.field == "buckets"


async def test_a_broadcast_of_the_models_tensors_is_let_through_however_it_is_cut(tmp_path: Path) -> None:
    checkpoints = Checkpoints(write(tmp_path / "model", SHAPES))
    await checkpoints.check_offer(offer_of(*({name: shape} for name, shape in SHAPES.items())))
    await Checkpoints(None).check_offer(offer_of({"anything": (1,)}))
