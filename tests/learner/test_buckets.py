"""Buckets are stretches of the published file, and cover it once."""

import mmap
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from learner.buckets import stretches
from learner.model_files import WEIGHTS
from scheduler.core.errors import InvalidCheckpoint


def write(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {
        "odd": torch.arange(3, dtype=torch.bfloat16),
        "wide": torch.arange(40, dtype=torch.float32).reshape(8, 5),
        "narrow": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.arange(10, dtype=torch.bfloat16).reshape(5, 2),
    }
    save_file(tensors, folder / WEIGHTS)
    return tensors


@pytest.mark.parametrize("bucket_bytes", [1, 30, 180, 10_000])
def test_the_bytes_of_all_buckets_cut_by_names_types_and_shapes_are_the_tensors(
    tmp_path: Path, bucket_bytes: int
) -> None:
    tensors = write(tmp_path)
    found: dict[str, torch.Tensor] = {}
    for stretch in stretches(tmp_path, bucket_bytes):
        content, place = stretch.mapped(tmp_path), 0
        assert len(stretch.bucket) == 1 or len(content) <= bucket_bytes
        for spec in stretch.bucket:
            dtype: torch.dtype = getattr(torch, spec.dtype)
            # A server refuses a tensor that begins where its type cannot.
            assert place % dtype.itemsize == 0
            size = torch.Size(spec.shape).numel() * dtype.itemsize
            found[spec.name] = torch.frombuffer(content[place : place + size], dtype=dtype).reshape(spec.shape)
            place += size
        assert place == len(content)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_file_that_is_cut_short_is_not_sent_as_if_it_were_whole(tmp_path: Path) -> None:
    write(tmp_path)
    cut = stretches(tmp_path, 10_000)
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[:-1])
    with pytest.raises(OSError, match="ends before"):
        cut[-1].mapped(tmp_path)


def test_a_stretch_outlives_its_folder_and_begins_anywhere_in_the_file(tmp_path: Path) -> None:
    folder, rows = tmp_path / "published", mmap.ALLOCATIONGRANULARITY
    folder.mkdir()
    save_file({f"t{number}": torch.full((rows + 2,), float(number)) for number in range(4)}, folder / WEIGHTS)
    mapped = [stretch.mapped(folder) for stretch in stretches(folder, 1)]
    shutil.rmtree(folder)
    # The learner prunes what it published while it may still be sending it.
    contents = [torch.frombuffer(each, dtype=torch.float32) for each in mapped]
    assert [content.tolist() for content in contents] == [[float(number)] * (rows + 2) for number in range(4)]


def test_what_torch_does_to_a_stretch_stays_out_of_the_file(tmp_path: Path) -> None:
    write(tmp_path)
    before = (tmp_path / WEIGHTS).read_bytes()
    [stretch] = stretches(tmp_path, 10_000)
    torch.frombuffer(stretch.mapped(tmp_path), dtype=torch.uint8).zero_()
    assert (tmp_path / WEIGHTS).read_bytes() == before


def test_a_type_that_the_learner_never_publishes_is_refused_by_name(tmp_path: Path) -> None:
    save_file({"steps": torch.arange(3)}, tmp_path / WEIGHTS)
    with pytest.raises(InvalidCheckpoint, match="I64"):
        stretches(tmp_path, 100)
    assert load_file(tmp_path / WEIGHTS).keys() == {"steps"}
